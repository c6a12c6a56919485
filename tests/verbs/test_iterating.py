"""Rounds of students that label for each other: what each one learns from, what is refused, and a kill between them."""

import dataclasses
import json

import pytest
import tensorflow as tf
import toy

import must_tf
from must_tf import verbs
from must_tf.errors import UserError
from must_tf.pipeline.mixing import Mixing
from must_tf.records import HUMAN, open_dataset
from must_tf.records.writer import PLAN
from must_tf.saving import CONFIG
from must_tf.tasks import Detection
from must_tf.teachers.spec import TeacherSpec
from must_tf.training import load_student
from must_tf.training.config import read_config
from must_tf.verbs import iterating as module
from must_tf.verbs.evaluating import evaluate


@pytest.fixture(scope="module")
def experiment(eagerly, toy_data, tmp_path_factory):
    validation = tmp_path_factory.mktemp("data") / "validation"
    toy.write_dataset(validation, toy.toy_records(6, seed=1))
    return toy.experiment(toy_data, tasks=[toy.SCENE], steps=2, validation=str(validation))


@pytest.fixture(scope="module")
def images(toy_data, tmp_path_factory):
    """Records of five other images, without labels."""
    folder = tmp_path_factory.mktemp("data") / "images"
    toy.write_dataset(folder, toy.toy_records(5, seed=2, tasks=()), tasks=())
    return folder


@pytest.fixture(scope="module")
def whole(experiment, images, tmp_path_factory):
    """Two rounds after round 0, in one go: their folder, and what was returned."""
    out = tmp_path_factory.mktemp("rounds") / "out"
    return out, must_tf.rounds(experiment, images, out, rounds=2)


def test_each_student_learns_from_the_labels_of_the_one_before(experiment, whole):
    out, found = whole
    for number in (1, 2):
        labels = open_dataset(out / f"labels-{number}").manifest
        assert [origin.rpartition("-")[0] for origin in labels.counts["scene"]] == [f"round-{number - 1}"]
        assert sum(labels.counts["scene"].values()) == labels.count == 5
        assert read_config(out / f"round-{number}" / CONFIG).train == (*experiment.train, f"{out}/labels-{number}")
    told = json.loads((out / "rounds.json").read_text())
    assert [one["workdir"] for one in told["rounds"]] == [f"{out}/round-{number}" for number in range(3)]
    assert told["data"] == experiment.validation and len({one["sha256"] for one in told["rounds"]}) == 3
    head, row = repr(found).splitlines()
    assert head.split() == ["task", "metric", "round", "0", "round", "1", "round", "2"]
    assert row.split()[:2] == ["scene", "top1"]
    assert [f"{100 * one['scores']['scene']['top1']:.1f}%" for one in told["rounds"]] == row.split()[2:]


def test_gpus_are_shared_before_the_first_training_takes_their_memory(experiment, images, tmp_path, monkeypatch):
    done = []

    def stop(*_):
        done.append("trained")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "share_gpus", lambda: done.append("shared"))
    monkeypatch.setattr(module, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        must_tf.rounds(experiment, images, tmp_path / "out", rounds=1)
    assert done == ["shared", "trained"]


def test_scores_of_finished_rounds_are_found_once(experiment, whole, tmp_path, monkeypatch):
    scored = []

    def counted(workdir, data, out):
        scored.append(out)
        return evaluate(workdir, data, out=out)

    monkeypatch.setattr(module, "evaluate", counted)
    path, told = tmp_path / "round-1.json", json.loads((whole[0] / "round-1.json").read_text())
    for changes in (
        {},
        {"sha256": "of another student"},
        {"records": "others"},
        {"scores": {}},
        {"scores": 3},
        {"size": 8},
    ):
        path.write_text(json.dumps(told | changes))
        found = module._scored(str(whole[0] / "round-1"), experiment.validation, path)
        assert found.scores == whole[1].evaluations[1].scores and repr(found) == repr(whole[1].evaluations[1])
        assert scored == [str(path)] * bool(changes)
        scored.clear()


def test_a_finished_run_is_round_0_and_new_labels_of_its_own_records_take_their_place(
    classifier_run, toy_data, tmp_path
):
    out = tmp_path / "out"
    overrides = {"validation": str(toy_data)}
    must_tf.rounds(None, toy_data, out, first=classifier_run, overrides=overrides)
    assert not (out / "round-0").exists()
    assert read_config(out / "round-1" / CONFIG).train == (f"{out}/labels-1",)
    before, after = (open_dataset(where).manifest.counts[toy.SCENE.name] for where in (toy_data, out / "labels-1"))
    assert after[HUMAN] == before[HUMAN] and sum(after.values()) == open_dataset(toy_data).manifest.count


def test_killed_before_each_training_it_ends_as_one_that_ran_through(experiment, images, whole, tmp_path, monkeypatch):
    begun = []

    def killed_once(experiment, workdir):
        if workdir not in begun:
            begun.append(workdir)
            raise KeyboardInterrupt
        return train(experiment, workdir)

    train = module.train
    monkeypatch.setattr(module, "train", killed_once)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            must_tf.rounds(experiment, images, tmp_path / "out")
    must_tf.rounds(experiment, images, tmp_path / "out")
    assert begun == [f"{tmp_path}/out/round-{number}" for number in range(2)]
    students = [load_student(folder / "round-1") for folder in (whole[0], tmp_path / "out")]
    assert toy.same_weights(*students)


def test_later_rounds_have_a_config_of_their_own_and_the_records_of_round_0(
    experiment, images, classifier_run, tmp_path
):
    student = dataclasses.replace(
        experiment, trunk=dataclasses.replace(toy.TRUNK, width=0.5), train=("elsewhere",), tasks=(toy.DEPTH,), steps=3
    )
    must_tf.rounds(experiment, images, tmp_path / "out", first=classifier_run, student=student)
    config = read_config(tmp_path / "out" / "round-1" / CONFIG)
    assert (config.trunk.width, config.steps, config.tasks) == (0.5, 3, experiment.tasks)
    assert config.train == (*experiment.train, f"{tmp_path}/out/labels-1")


def test_weights_of_mixing_go_with_the_records_that_are_replaced(experiment):
    folder = experiment.train[0]
    mixed = dataclasses.replace(experiment, train=(folder, "b"), mixing=Mixing({f"{folder}/": 3.0, "b": 2.0}))
    assert module._with_labels(mixed, f"{folder}/", "new").mixing.weights == {"new": 3.0, "b": 2.0}
    assert module._with_labels(mixed, "other", "new").train == (folder, "b", "new")
    with pytest.raises(UserError, match="weights 2, 3 in the config's mixing"):
        module._with_labels(mixed, f"{folder},b", "new")


def test_records_are_replaced_whatever_their_name_and_however_many(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    trained = dataclasses.replace(experiment, train=("a", "b", "s3://bucket/c"))
    for images, train in {
        f"{tmp_path}/a": ("b", "s3://bucket/c", "new"),
        "./link": ("a", "s3://bucket/c", "new"),
        "a,b,photos": ("s3://bucket/c", "new"),
        "s3://bucket/c/": ("a", "b", "new"),
        "coco:a": (*trained.train, "new"),
        "photos[:90%]": (*trained.train, "new"),
    }.items():
        assert module._with_labels(trained, images, "new").train == train
    with pytest.raises(UserError, match=r"--images=a\[:90%\]: is a slice of records .* give --images=a$"):
        module._with_labels(trained, "a[:90%]", "new")


def test_all_is_in_one_folder_of_a_bucket_however_its_name_ends(experiment, images, monkeypatch):
    places = []
    monkeypatch.setattr(module, "train", lambda config, workdir: places.append(workdir))
    monkeypatch.setattr(module, "label", lambda images, teachers, out, **_: places.append(out))
    monkeypatch.setattr(module, "write_json", lambda path, _: places.append(str(path)))
    monkeypatch.setattr(module, "stored", lambda workdir, data, path: None)
    scored = module.Evaluation("", "", "", (8, 8), {}, {}, "")
    monkeypatch.setattr(module, "evaluate", lambda workdir, data, out: places.append(out) or scored)
    verbs.rounds(experiment, images, "s3://bucket/rounds/")
    names = ("round-0", "round-0.json", "labels-1", "round-1", "round-1.json", "rounds.json")
    assert places == [f"s3://bucket/rounds/{name}" for name in names]


def test_thresholds_of_boxes_are_searched_where_people_labeled_the_validation_set(experiment):
    boxes = dataclasses.replace(experiment, tasks=(toy.SCENE, toy.THINGS))
    assert module._searched(boxes) == {toy.THINGS.name: f"best:{experiment.validation}"}
    assert module._searched(dataclasses.replace(boxes, validation="")) == {}


@pytest.fixture
def traced():
    """Has TensorFlow trace functions again, as the teachers of boxes need."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.mark.slow
def test_boxes_are_labeled_with_the_thresholds_that_were_searched(experiment, traced, images, tmp_path, monkeypatch):
    best = {name: 0.001 + 0.002 * number for number, name in enumerate(toy.THINGS.class_names)}
    monkeypatch.setattr(Detection, "best_thresholds", lambda *_: {"min_score": best})
    boxes = dataclasses.replace(experiment, tasks=(toy.THINGS,))
    must_tf.rounds(boxes, images, tmp_path / "out", tta="flip", allow_empty=True)
    (task,) = open_dataset(tmp_path / "out" / "labels-1").manifest.tasks
    assert task.min_score == best
    monkeypatch.setattr(Detection, "best_thresholds", lambda *_: {})
    must_tf.rounds(boxes, images, tmp_path / "out", tta="flip", allow_empty=True)


def test_labels_go_on_with_the_thresholds_that_they_began_with(tmp_path, monkeypatch):
    """A second search, as on a GPU, finds others; they would be another command's."""
    found = [0.3, 0.4, 0.5, 0.6]

    def calibrated(spec, images, batch_size):
        assert images == "validation" and spec.task == "things"
        return dataclasses.replace(spec, thresholds={"min_score": {"cup": found.pop(0)}})

    def thresholds(sha256="0", tta=("flip",)):
        teacher = module.Evaluation("run", sha256, "", (8, 8), {}, {}, "")
        return module._found({"things": "validation"}, tta, 8, teacher, tmp_path, 1)["things"]["min_score"]["cup"]

    monkeypatch.setattr(module, "calibrated", calibrated)
    monkeypatch.setattr(module, "make_specs", lambda places, augmentation: [TeacherSpec("things", "x", "y")])
    assert [thresholds(), thresholds()] == [0.3, 0.4]  # no label has been made
    (tmp_path / "labels-1").mkdir()
    (tmp_path / "labels-1" / PLAN).write_text("{}")
    assert [thresholds(), thresholds()] == [0.4, 0.4]
    assert [thresholds("1"), thresholds("1", "scales")] == [0.5, 0.6]


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"validation": ""}, {}, "no `test` and no `validation`"),
        ({"strategy": "multiworker"}, {}, "strategy is multiworker"),
        ({}, {"rounds": 0}, "--rounds: 0 received"),
        ({"train": ("missing",)}, {}, "missing"),
        ({}, {"images": "missing"}, "missing"),
        ({}, {"thresholds": {"scenes": {"min_score": 0.5}}}, "--thresholds: no teacher for task 'scenes'"),
        ({}, {"thresholds": {"scene": {"min_score": 0.5}}}, "classification has no threshold 'min_score'"),
        (
            {"tasks": (toy.THINGS,)},
            {"thresholds": {"things": {"min_score": "best"}}},
            r"--thresholds=things\.min_score=best: .* give a number, or things=best:RECORDS",
        ),
        ({}, {"thresholds": {"scene": "best"}}, "--thresholds=scene: 'best' received; expected best:RECORDS"),
        ({}, {"tta": {"scenes": ("flip",)}}, "--tta: no teacher for task 'scenes'"),
    ],
)
def test_what_cannot_be_rounds_is_refused_before_anything_is_written(
    experiment, images, tmp_path, changes, options, said
):
    with pytest.raises(UserError, match=said):
        verbs.rounds(
            dataclasses.replace(experiment, **changes), **({"images": images, "out": tmp_path / "out"} | options)
        )
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_tasks_is_not_round_0(experiment, images, classifier_run, tmp_path):
    other = dataclasses.replace(experiment, tasks=(dataclasses.replace(toy.SCENE, name="other"),))
    with pytest.raises(UserError, match=r"--first=.*: its student has no task 'other', which the config trains"):
        verbs.rounds(other, images, tmp_path / "out", first=classifier_run)
    assert not (tmp_path / "out" / "labels-1").exists()


def test_without_a_config_or_a_run_it_says_so(images, tmp_path):
    with pytest.raises(UserError, match="--config: not given"):
        verbs.rounds(None, images, tmp_path / "out")
    with pytest.raises(UserError, match=r"--scale=0\.5: received without --config; give --config\.steps=N"):
        verbs.rounds(None, images, tmp_path / "out", first=tmp_path, scale=0.5)
