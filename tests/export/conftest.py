import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import tf_keras
import toy

from must_tf.export import FORMATS, Parity, export
from must_tf.saving import load_student, save_student
from must_tf.student import Student
from must_tf.tasks import Classification, Depth, Detection, Normals, Segmentation

TASKS = (
    Classification("scene", class_names=("indoor", "outdoor", "neither")),
    Detection("things", class_names=("chair", "table")),
    Segmentation("stuff", class_names=("wall", "floor", "rest")),
    Depth("depth"),
    Normals("normals"),
)
INSTALLED = tuple(name for name in FORMATS if name != "torch" or importlib.util.find_spec("torch"))


def finished_run(workdir, tasks, max_level=5, train=(), trunk=None):
    """Leaves what `must train` leaves: a student with weights that are nowhere trivial, and its config."""
    tf_keras.utils.set_random_seed(0)
    student = Student(tasks, trunk or dataclasses.replace(toy.TRUNK, max_level=max_level))
    rng = np.random.default_rng(0)
    for variable in student.variables:
        kind = variable.name.rpartition("/")[2].split(":")[0]
        if kind in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif kind in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif "/scores/" in variable.name or "/boxes/" in variable.name:
            variable.assign(rng.normal(0, 0.3, variable.shape))  # so that boxes differ, and have high scores
    save_student(student, workdir)
    (workdir / "config.json").write_text(
        json.dumps({"input_size": [64, 64], "train": [str(folder) for folder in train]})
    )
    return student


@pytest.fixture
def finish():
    """`finished_run`, for tests with tasks of their own."""
    return finished_run


@pytest.fixture(scope="session")
def run(once):
    """A finished run of all five kinds of task: (workdir, student)."""
    workdir = once("finished/five", lambda folder: finished_run(folder, TASKS))
    return workdir, load_student(workdir)


def read_export(folder):
    """Returns the export that lies in a folder, alone: (its folder, parities)."""
    (out,) = folder.iterdir()
    parities = json.loads((out / "card.json").read_text())["parity"]
    return out, [Parity(**parity | {"size": tuple(parity["size"])}) for parity in parities]


@pytest.fixture(scope="session")
def exported(run, once):
    """Its export: (folder, parities)."""
    return read_export(once("exports/five", lambda folder: export(run[0], folder / "five")))


@pytest.fixture(scope="session")
def classifier(once, toy_data):
    """The workdir of a run with classification alone, no pyramid; its training data are there."""
    return once("finished/classifier", lambda folder: finished_run(folder, TASKS[:1], train=[toy_data]))


@pytest.fixture(scope="session")
def everywhere(classifier, once):
    """The classifier's export in all formats that are installed: (folder, parities)."""

    def make(folder):
        export(classifier, folder / "everywhere", INSTALLED, batches=[3], litert_images=4)

    return read_export(once("exports/everywhere", make))


@pytest.fixture(scope="session")
def detector(once):
    """The workdir of a run with detection alone, on the levels of the paper: P3 to P7."""
    return once("finished/detector", lambda folder: finished_run(folder, TASKS[1:2], max_level=7))


@pytest.fixture(scope="session")
def boxes(detector, once):
    """The detector's export: (folder, parities)."""
    options = {"formats": ["onnx", "keras", "tf_keras"], "sizes": [(96, 160)], "batches": [2]}
    return read_export(once("exports/boxes", lambda folder: export(detector, folder / "boxes", **options)))
