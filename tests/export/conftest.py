import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import tf_keras
import toy

from must_tf.export import FORMATS, export
from must_tf.saving import save_student
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
def run(tmp_path_factory):
    """A finished run of all five kinds of task: (workdir, student)."""
    workdir = tmp_path_factory.mktemp("runs") / "five"
    return workdir, finished_run(workdir, TASKS)


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
    """Its export: (folder, parities)."""
    out = tmp_path_factory.mktemp("exports") / "five"
    return out, export(run[0], out)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, toy_data):
    """The workdir of a run with classification alone, no pyramid; its training data are there."""
    workdir = tmp_path_factory.mktemp("runs") / "classifier"
    finished_run(workdir, TASKS[:1], train=[toy_data])
    return workdir


@pytest.fixture(scope="session")
def everywhere(classifier, tmp_path_factory):
    """The classifier's export in all formats that are installed: (folder, parities)."""
    out = tmp_path_factory.mktemp("exports") / "everywhere"
    return out, export(classifier, out, INSTALLED, batches=[3], litert_images=4)


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """The workdir of a run with detection alone, on the levels of the paper: P3 to P7."""
    workdir = tmp_path_factory.mktemp("runs") / "detector"
    finished_run(workdir, TASKS[1:2], max_level=7)
    return workdir
