"""A multi-label classifier of others labels images, and its labels go through every command."""

import html
import re

import numpy as np
import pytest
import tensorflow as tf
import toy
import yaml
from PIL import Image

from must_tf.errors import UserError
from must_tf.evaluation import transfer
from must_tf.export import export
from must_tf.inference import evaluate, predict
from must_tf.labeling import label
from must_tf.records import open_dataset
from must_tf.report import inspect, report, summary, transfer_table
from must_tf.tasks import Classification
from must_tf.training import train

NAMES = ("red", "green", "blue")
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A SavedModel whose logits are high where a color is strong; for a black image all sigmoids are small."""
    images = tf.TensorSpec([None, 32, 32, 3], tf.float32, name="images")
    function = tf.function(lambda images: {"logits": 12 * tf.reduce_mean(images, [1, 2]) - 5}, [images])
    path = tmp_path_factory.mktemp("colors") / "model"
    tf.saved_model.save(tf.Module(), str(path), function.get_concrete_function())
    return f"savedmodel:{path}"


@pytest.fixture(scope="module")
def teacher(model):
    draft = toy.describe(model)
    assert "# multi_label: true" in draft
    fields = yaml.safe_load(draft) | {"activation": "sigmoid", "class_names": list(NAMES), "range": [0, 1]}
    return toy.load("colors", model, fields=fields)


@pytest.fixture(scope="module")
def data(teacher, tmp_path_factory):
    """Pseudo labels of eight plain images, one of each combination of colors, and black."""
    folder = tmp_path_factory.mktemp("colors")
    for i in range(8):
        pixels = np.full((64, 64, 3), [255 * (i >> channel & 1) for channel in range(3)], np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    label(str(folder), [teacher], folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def run(eagerly, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("colors") / "run"
    tasks = open_dataset(data).manifest.tasks
    fields = {"validation": str(data), "evaluate_every": 2, "best": "colors/mAP"}
    train(toy.experiment(data, tasks=tasks, **fields), workdir)
    return workdir


def test_records_hold_the_sigmoids(teacher, data):
    dataset = open_dataset(data)
    assert dataset.manifest.counts == {"colors": {teacher.id: 8}}
    (task,) = dataset.manifest.tasks
    assert task == Classification("colors", NAMES, multi_label=True)
    found = sorted(tuple(record.labels["colors"].round(3)) for record in dataset.records())
    low, high = (float(tf.sigmoid(logit)) for logit in (-5.0, 7.0))
    expected = sorted(tuple(high if i >> channel & 1 else low for channel in range(3)) for i in range(8))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_labels_of_the_other_mode_are_refused_by_name(data):
    with pytest.raises(UserError, match="task 'colors' has multi_label True, not False"):
        open_dataset(data).require([Classification("colors", NAMES)])


def test_page_shows_the_mode_and_several_classes(data, tmp_path):
    dataset, findings, grades = inspect(data, tmp_path / "page.html")
    assert not findings.problems and findings.statistics["colors"] == dict.fromkeys(NAMES, 4)
    counts = findings.histograms["colors"]["classes per image"]
    assert {name: count for name, count in counts.items() if count} == {"0": 1, "1": 3, "2": 3, "3–4": 1}
    page = (tmp_path / "page.html").read_text()
    assert "classification (multi_label)" in page
    assert re.search(r'\[\["colors","blue",0\.999\],\["colors","green"', html.unescape(page))
    assert "colors" in summary(dataset, findings, grades)


def test_student_is_validated_by_map_and_is_a_teacher_in_turn(data, run, tmp_path):
    student = toy.load("colors", f"student:{run}")
    scores = evaluate(student.student, open_dataset(data), toy.VIEW)["colors"]
    assert set(scores) == {"mAP"} and 0 < scores["mAP"] <= 1 and (run / "best").exists()
    record = next(iter(open_dataset(data).records()))
    assert predict(student.student, record.encoded, toy.VIEW)["colors"].shape == (3,)
    made = label(str(data), [student], tmp_path / "again")
    assert made.counts == {"colors": {student.id: 8}} and made.tasks[0].multi_label
    report(tmp_path / "page.html", [data], [run], run)
    assert "colors mAP" in (tmp_path / "page.html").read_text()


def test_transfer_compares_map(data, run, tmp_path):
    experiment = toy.experiment(data, tasks=open_dataset(data).manifest.tasks, test=str(data), steps=2)
    table = transfer([experiment], {"random": "", "colors": str(run)}, tmp_path / "out")
    assert table.tasks[0].measure.name == "mAP" and "mAP" in transfer_table(table)


def test_exports_give_the_sigmoids(run, only_heads, tmp_path):
    parities = export(
        run, tmp_path / "out", ("savedmodel", "onnx", "litert"), sizes=[toy.VIEW], batches=(1,), litert_images=4
    )
    found = {parity.file: parity.largest for parity in parities if parity.output == "colors/probs"}
    exact = {"savedmodel/student", "onnx/student.onnx", "onnx/heads.onnx", "litert/student.float32.tflite"}
    assert exact < set(found) and max(found[file] for file in exact) < 1e-4  # the other LiteRT files are rounded
