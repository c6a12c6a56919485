"""Features go through training, evaluation, pages, predictions and exports beside another task."""

import json

import numpy as np
import onnxruntime
import pytest
import specimens
import toy

from must_tf.export import export
from must_tf.inference import evaluate, predict
from must_tf.records import open_dataset
from must_tf.report import inspect, summary
from must_tf.training import train

TASK = specimens.SPECIMENS["features"].tasks[0]
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records with features, with classes, or with both."""
    folder, rng = tmp_path_factory.mktemp("features") / "data", np.random.default_rng(1)
    toy.write_beside_classes(folder, TASK, lambda i, *size: toy.random_label(TASK, rng, *size))
    return folder


@pytest.fixture(scope="module")
def run(eagerly, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("features") / "run"
    train(toy.experiment(data, tasks=(TASK, toy.SCENE), validation=str(data), evaluate_every=4), workdir)
    return workdir


def test_features_are_learned_beside_classes_and_evaluated(data, run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss/vectors"]) and np.isfinite(line["loss/scene"]) for line in lines)
    student = toy.load(TASK.name, f"student:{run}").student
    scores = evaluate(student, open_dataset(data), toy.VIEW)["vectors"]
    assert scores["cosine"] == pytest.approx(lines[-1]["validation/vectors/cosine"])
    assert -1 <= scores["cosine"] <= 1 and -1 <= scores["summary_cosine"] <= 1
    record = next(iter(open_dataset(data).records()))
    label = predict(student, record.encoded, toy.VIEW)["vectors"]
    assert label["grid"].shape == (4, 4, 8) and set(TASK.encode(label)) == set(TASK.features())


def test_features_are_inspected_and_graded_by_classes(data, tmp_path):
    dataset, findings, grades = inspect(data, tmp_path / "page.html")
    assert not findings.problems and "vectors" in summary(dataset, findings, grades)
    (grade,) = grades
    assert grade.tasks == ("vectors", "scene") and 0 <= grade.scores["knn"] <= 1 and grade.images == 8


def test_heads_of_features_are_exported(run, only_heads, tmp_path):
    parities = export(
        run, tmp_path / "out", ("savedmodel", "onnx", "litert"), sizes=[toy.VIEW], batches=(1,), litert_images=4
    )
    for output in ("vectors/grid", "vectors/summary"):
        files = {parity.file for parity in parities if parity.output == output}
        assert {"savedmodel/student", "onnx/student.onnx", "onnx/heads.onnx"} <= files
        assert any("litert" in file for file in files)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "onnx" / "student.onnx"))
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes["vectors/grid"] == ["batch", "height/16", "width/16", 8] and shapes["vectors/summary"] == ["batch", 5]
