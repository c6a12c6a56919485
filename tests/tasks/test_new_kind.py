"""A kind from outside the package works with every command: it takes one file and one line that registers it."""

import dataclasses
import json
import re
import shutil

import blur
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import toy
import yaml

from must_tf.errors import UserError
from must_tf.evaluation import Sweep, read_cells, transfer
from must_tf.export import export, notes
from must_tf.inference import evaluate, predict
from must_tf.labeling import label
from must_tf.records import check_same_labels, open_dataset
from must_tf.report import inspect, report, summary, transfer_table
from must_tf.tasks import KINDS, from_json, to_json
from must_tf.training import Optimizer, train

BLUR = blur.Blur("sharpness")
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module", autouse=True)
def registered():
    KINDS["blur"] = blur.Blur  # the registration
    yield
    del KINDS["blur"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset with labels of the new kind, of classification, or of both."""
    folder = tmp_path_factory.mktemp("blur") / "data"
    toy.write_beside_classes(folder, BLUR, lambda i, *_: {"blur": float(i), "notes": [b"a", b"\x00\xff"][: i % 3]})
    return folder


@pytest.fixture(scope="module")
def run(eagerly, data, tmp_path_factory):
    """The workdir of a finished student with a head of the new kind and one of classification."""
    workdir = tmp_path_factory.mktemp("blur") / "run"
    train(toy.experiment(data, tasks=(BLUR, toy.SCENE), validation=str(data), evaluate_every=2), workdir)
    return workdir


def test_task_from_json_is_equal_and_hashable_at_any_depth():
    task = blur.Blur("a", (("kernel", (3, 3)), ("steps", {"first": [1, [2]]})))
    back = from_json(json.loads(json.dumps(to_json(task))))
    assert back == task and len({back, task}) == 1


def test_labels_with_a_list_of_bytes_are_stored_in_records(data):
    found = [record.labels.get("sharpness") for record in open_dataset(data).records()]
    assert sorted(one["blur"] for one in found if one) == [0, 1, 2, *range(4, 12)]
    assert {(one["blur"], tuple(one["notes"])) for one in found if one} >= {(1.0, (b"a",)), (2.0, (b"a", b"\x00\xff"))}


def test_labels_with_another_protocol_are_refused_by_name(data):
    other = dataclasses.replace(BLUR, protocol=("by eye",))
    with pytest.raises(UserError, match=r"task 'sharpness' has protocol \(\), not \('by eye',\)"):
        check_same_labels(data, open_dataset(data).manifest.tasks, [other])


def test_foreign_teacher_labels_with_the_new_kind(folder, tmp_path):
    images = tf.TensorSpec([None, 32, 32, 3], tf.float32, name="images")
    function = tf.function(lambda images: {"blur_radius": tf.reduce_mean(images, [1, 2, 3])[:, tf.newaxis]}, [images])
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "model"), function.get_concrete_function())
    draft = yaml.safe_load(toy.describe(f"savedmodel:{tmp_path / 'model'}"))
    assert draft["task"] == "blur" and draft["outputs"] == {"blur": "blur_radius"}
    teacher = toy.load("sharpness", f"savedmodel:{tmp_path / 'model'}", fields=draft | {"pixels": 2.0})
    manifest = label(str(folder), [teacher], tmp_path / "out")
    assert manifest.counts == {"sharpness": {teacher.id: 5}}
    labels = [record.labels["sharpness"] for record in open_dataset(tmp_path / "out").records()]
    assert all(one["notes"] == [b"by a teacher", b"in pixels"] and one["blur"] > 0 for one in labels)
    with pytest.raises(UserError, match="pixels: not given"):
        toy.load("sharpness", f"savedmodel:{tmp_path / 'model'}", fields=draft | {"pixels": None})
    with pytest.raises(UserError, match="blur has no threshold 'min_score'; it has none"):
        toy.load("sharpness", f"savedmodel:{tmp_path / 'model'}", fields=draft, thresholds={"min_score": 0.5})


def test_new_kind_trains_beside_others_and_is_evaluated(data, run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss/sharpness"]) for line in lines) and "validation/sharpness/MAE" in lines[-1]
    student = toy.load("sharpness", f"student:{run}").student
    scores = evaluate(student, open_dataset(data), toy.VIEW)
    assert scores["sharpness"]["MAE"] == pytest.approx(lines[-1]["validation/sharpness/MAE"])
    record = next(iter(open_dataset(data).records()))
    assert predict(student, record.encoded, toy.VIEW)["sharpness"]["notes"] == [b"by a teacher", b"in pixels"]


def test_transfer_takes_the_lowest_error_and_never_shows_percent(data, run, tmp_path):
    validation = shutil.copytree(data, tmp_path / "validation")
    experiment = toy.experiment(data, tasks=(BLUR,), validation=str(validation), test=str(data), steps=3)
    experiment = dataclasses.replace(experiment, optimizer=Optimizer("sgd", 0.01, clip_norm=1.0))
    sweep = Sweep((1e-6, 0.3))
    table = transfer([experiment], {"random": "", "blur": str(run)}, tmp_path / "out", (0, 1), sweep)
    text = transfer_table(table)
    rows = [line for line in text.splitlines() if line.startswith("sharpness")]
    assert "px" in text and "MAE" in text and rows and not any("%" in row for row in rows)

    cells = read_cells(tmp_path / "out")
    for init in ("random", "blur"):
        swept = {cell.learning_rate: cell.validation["MAE"] for cell in cells if (cell.init, cell.seed) == (init, 0)}
        chosen = {cell.learning_rate for cell in cells if (cell.init, cell.seed) == (init, 1)}
        assert chosen == {min(swept, key=swept.get)}
    report(tmp_path / "page.html", [data], [run], run, [tmp_path / "out" / "transfer.json"])
    assert "px" in (tmp_path / "page.html").read_text()


def test_new_kind_is_inspected(data, tmp_path):
    dataset, findings, grades = inspect(data, tmp_path / "page.html")
    assert not findings.problems and "sharpness" in summary(dataset, findings, grades)
    assert findings.statistics["sharpness"]["notes"] == 12


def test_declared_exports_have_the_head_and_the_others_are_reported(run, only_heads, tmp_path):
    parities = export(
        run, tmp_path / "out", ("savedmodel", "onnx", "litert"), sizes=[toy.VIEW], batches=(1,), litert_images=4
    )
    files = {parity.file for parity in parities if parity.output == "sharpness/blur"}
    assert files == {"savedmodel/student", "onnx/student.onnx", "onnx/heads.onnx"}
    assert any("nobody needs it on a phone" in note for note in notes(tmp_path / "out"))
    text = (tmp_path / "out" / "README.md").read_text()
    assert "nobody needs it on a phone" in text
    assert re.search(r"\| validation/sharpness/MAE \| [0-9.]+ \| px, lower is better \|", text)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "onnx" / "student.onnx"))
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes["sharpness/blur"] == ["batch", 1]
