"""The verbs as functions: what the commands take, results that print themselves, errors of one line."""

import dataclasses
import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras
import toy

import must_tf
from must_tf import inference, verbs
from must_tf.cli.verbs import VERBS
from must_tf.convert import Selection
from must_tf.errors import UserError
from must_tf.evaluation import read_table
from must_tf.evaluation.neighbors import neighbor_scores
from must_tf.export.loading import load_backbone
from must_tf.pipeline import evaluation_batches
from must_tf.records import open_dataset
from must_tf.tasks.knn import nearest_classes
from must_tf.training import load_student

TABLE = Path(__file__).parents[2] / "experiments" / "rooms" / "results" / "demo.json"
_OTHERWISE = {  # flags of modes and of the command line alone; the others are arguments of the same name
    "inspect": {  # the other questions are functions of `must_tf.quality`
        *("audit", "audit_from", "against", "duplicates", "leaks"),
        *("to", "images", "seed", "root", "task"),
    },
    "label": {
        "describe",
        "preview",
        "plan",
        "plan_count",
        "prices",
        "except",
    },  # `except` is a word of Python: `without`
    "train": {"plan", "accelerators", "accelerator", "utilization", "prices"},
}


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"demo", "rooms", "completion"}))
def test_functions_take_what_the_commands_take(verb):
    flags = set(importlib.import_module(f"must_tf.cli.{verb}").FLAGS) - _OTHERWISE.get(verb, set())
    taken = inspect.signature(getattr(must_tf, verb)).parameters
    assert flags <= {*taken}


def test_packages_with_the_name_of_a_verb_are_called_and_hold_their_modules():
    assert must_tf.export.loading.load_backbone is load_backbone and must_tf.convert.Selection is Selection
    assert inspect.signature(must_tf.export) == inspect.signature(verbs.export)
    with pytest.raises(UserError, match="data: no such folder"):
        must_tf.convert("data", "coco", "out")


def test_label_takes_teachers_as_a_mapping_and_gives_a_dataset(folder, classifier_run, tmp_path):
    teacher = {"scene": f"student:{classifier_run}"}
    dataset = must_tf.label(folder, teacher, tmp_path / "out", license="CC0")
    assert dataset == open_dataset(tmp_path / "out") and dataset.manifest.source["license"] == "CC0"
    assert repr(dataset) == f"Dataset('{tmp_path / 'out'}', 5 records, labels: scene 5)"
    shown = dataset._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and shown.count("data:image/jpeg") == 5
    record = next(dataset.records())
    assert len(repr(record)) < 200 and "scene by" in repr(record) and "\\x" not in repr(record)
    both = must_tf.label(folder, {"scene": [teacher["scene"]] * 2}, tmp_path / "both", tta="flip")
    assert len(next(iter(both.manifest.teachers.values()))["members"]) == 2
    for said, options in (
        ("did you mean 'student'", {"teachers": {"scene": "studnt:x"}}),
        ("no teacher for task 'scen'; did you mean 'scene'", {"teachers": teacher, "cards": {"scen": "x.yaml"}}),
        (
            r"scene\.min_score=2 received, expected 0 to 1",
            {"teachers": teacher, "thresholds": {"scene": {"min_score": 2}}},
        ),
        ("expected best:RECORDS", {"teachers": teacher, "thresholds": {"scene": "worst"}}),
        ("both 'x' and 'y'", {"teachers": teacher, "classes": {"scene": {"x": ["a"], "y": ["a"]}}}),
        ("loaded ones received with cards", {"teachers": [object()], "tta": ["flip"]}),
        ("teachers: 'scene=hf:x' received; expected {task: 'FORMAT:PATH'}", {"teachers": "scene=hf:x"}),
        (r"teachers: \['scene=hf:x'\] received; expected {task", {"teachers": ["scene=hf:x"]}),
        ("cards: 'x.yaml' received; expected {task: file}", {"teachers": teacher, "cards": "x.yaml"}),
        ("fields: scene: 3 received; expected {task: {field", {"teachers": teacher, "fields": {"scene": 3}}),
        ("thresholds: scene: 0.3 received", {"teachers": teacher, "thresholds": {"scene": 0.3}}),
        (r"classes: scene: \['a'\] received", {"teachers": teacher, "classes": {"scene": ["a"]}}),
        ("tasks: 'scene' received; expected {new name", {"teachers": teacher, "tasks": "scene"}),
        ("--processes: received with --runner=beam", {"teachers": teacher, "runner": "beam", "processes": 2}),
        ("--runner: 'spark' received", {"teachers": teacher, "runner": "spark"}),
    ):
        with pytest.raises(UserError, match=said):
            must_tf.label(folder, out=tmp_path / "none", **options)
    with pytest.raises(UserError, match="--out: not given"):
        must_tf.label(folder, teacher)
    with pytest.raises(UserError, match="teachers: 'scene=hf:x' received"):
        must_tf.inspect(tmp_path / "out", teachers="scene=hf:x")


def test_evaluate_gives_and_writes_the_scores(classifier_run, toy_data, tmp_path):
    found = must_tf.evaluate(classifier_run, toy_data, size=64, tasks="scene", out=tmp_path / "e.json")
    student = load_student(classifier_run)
    assert found.scores == inference.evaluate(student, open_dataset(toy_data), (64, 64))
    assert json.loads((tmp_path / "e.json").read_text())["scores"] == found.scores
    assert repr(found).splitlines()[0] == f"scene: top1 {100 * found.scores['scene']['top1']:.1f}%"
    with pytest.raises(UserError, match="--size"):
        must_tf.evaluate(classifier_run, toy_data, size=(64, 64, 64), out=tmp_path / "none.json")


def test_students_show_predictions_on_images_of_their_run(classifier_run):
    student = load_student(classifier_run)
    assert repr(student).startswith("Student(resnet-10 of width 0.25, no pyramid, ")
    assert repr(student).endswith("parameters; scene (classification))")
    assert student._repr_html_().count("classification label of task scene") == 6
    assert "data:image" not in must_tf.Student([toy.SCENE], toy.TRUNK)._repr_html_()


def test_tables_show_themselves():
    table = read_table(TABLE)
    assert repr(table).splitlines()[0] == "TransferTable(random, classification, must; 1 seeds)"
    assert "  depth delta1: random 0.3709, " in repr(table) and "<table" in table._repr_html_().replace("&lt;", "<")


def test_inspect_and_convert(data, tmp_path):
    found = must_tf.inspect(data, pictures=2)
    assert found.page == data / "report.html" and "22 records" in repr(found) and not found.findings.problems
    assert found._repr_html_().count("data:image/jpeg") == 2
    done = must_tf.convert(data, "csv", tmp_path / "csv", images="none", tasks="scene", count=3)
    assert done.count == 3 and (tmp_path / "csv").is_dir()


def test_export_tells_its_stages_and_prints_its_table(classifier_run, tmp_path, capfd):
    exported = must_tf.export(classifier_run, tmp_path / "out", "tf_keras")
    stages = [line for line in capfd.readouterr().err.splitlines() if line.startswith("export: ")]
    assert stages[0] == "export: writes tf_keras/backbone.keras (1 of 1)" and "compares each file" in stages[1]
    assert exported.folder == tmp_path / "out" and "tf_keras/backbone.keras" in repr(exported) and exported.parities


def test_fit_trains_on_the_batches_of_a_folder(toy_data):
    student = must_tf.Student([toy.SCENE, toy.STUFF], toy.TRUNK)
    student.compile(tf_keras.optimizers.SGD(0.01))
    history = student.fit(
        must_tf.batches(toy_data, student.tasks.values(), 64, 4), steps_per_epoch=2, epochs=1, verbose=0
    ).history
    assert set(history) == {"loss", "gradient_norm", "loss/scene", "loss/stuff"}
    whole = must_tf.batches(toy_data, student.tasks.values(), (64, 96), 8, training=False)
    assert [len(images) for images, _ in whole] == [8, 8, 6] and next(iter(whole))[0].shape[1:3] == (64, 96)
    with pytest.raises(UserError, match="2 folders received"):
        must_tf.batches([toy_data, toy_data], training=False)


def test_an_experiment_takes_one_folder(toy_data):
    one, several = (must_tf.Experiment((toy.SCENE,), train, 1) for train in (toy_data, [str(toy_data)]))
    assert one == several and one.train == (str(toy_data),)


def test_neighbors_classify_by_the_backbone_alone(toy_run, toy_data, tmp_path):
    """The neighbors of an image are found among others."""
    known, test, both = tmp_path / "known", tmp_path / "test", tmp_path / "both"
    records = list(open_dataset(toy_data).records(tasks=[toy.SCENE]))
    for folder, some in ((known, records[::2]), (test, records[1::2]), (both, records)):
        toy.write_dataset(folder, some, [toy.SCENE])
    found = must_tf.evaluate(toy_run, test, size=64, out=tmp_path / "e.json", knn=known)
    assert json.loads((tmp_path / "e.json").read_text())["knn"] == found.knn
    student = load_student(toy_run)

    def read(folder):
        batches = list(evaluation_batches(open_dataset(folder), [toy.SCENE], (64, 64), 4))
        probs = np.concatenate([targets["scene"]["probs"] for _, targets in batches])
        vectors = np.concatenate([student.features(images)["C5"].numpy().mean((1, 2)) for images, _ in batches])
        return vectors[probs.any(-1)], probs[probs.any(-1)].argmax(-1)

    (vectors, classes), (queries, truth) = map(read, (known, test))
    expected = nearest_classes(vectors, classes, queries, toy.SCENE.num_classes)
    assert found.knn["scene"] == pytest.approx((expected == truth).mean())
    assert "scene: k-NN top1" in repr(found) and "lower is better" not in repr(dataclasses.replace(found, scores={}))
    with pytest.raises(UserError, match=r"--knn=.*: has the images of .*, which would be their own neighbors"):
        must_tf.evaluate(toy_run, known, size=64, out=tmp_path / "none.json", knn=known)
    with pytest.raises(UserError, match=r"both: has 11 of the images of .*test, which would be their own neighbors"):
        must_tf.evaluate(toy_run, test, size=64, out=tmp_path / "none.json", knn=both)
    student.backbone.set_weights([np.full_like(weight, np.nan) for weight in student.backbone.get_weights()])
    with pytest.raises(UserError, match=r"known: the student's features of its images are not finite"):
        neighbor_scores(student, open_dataset(known), open_dataset(test), (64, 64))
    depth = tmp_path / "depth"
    toy.write_dataset(depth, list(open_dataset(toy_data).records(tasks=[toy.DEPTH])), [toy.DEPTH])
    with pytest.raises(UserError, match=r"--knn=.*: has no classes of a task of .*; expected the same task in both"):
        must_tf.evaluate(toy_run, toy_data, size=64, out=tmp_path / "none.json", knn=depth)
