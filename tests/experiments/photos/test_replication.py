"""The stages of the experiment on photographs fit together, and its tables are made of the cells that are there."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.evaluation.cells import Cell, write_images
from must_tf.evaluation.table import read_table
from must_tf.experiments.photos import datasets, finetuning, judging, models, pretraining, replication, tables
from must_tf.records import HUMAN, Plan, Record, finish, write_shard
from must_tf.storage import write_json
from must_tf.tasks import Classification, Depth, Detection, Features, Segmentation
from must_tf.tasks.per_image import Ratios
from must_tf.training.balance import task_weights

THERE = [*datasets.DATASETS, datasets.HUMAN]
TEACHERS = {task: model.teacher for task, model in models.MODELS.items()}
PLAN = replication.plan(THERE, TEACHERS)


def _write(folder, tasks, entries):
    """Writes records of black images: (name of the file, labels) each."""
    plan = Plan(folder, "photos", "train", tuple(tasks), 1, {})
    encoded = tf.io.encode_png(np.zeros((6, 8, 3), np.uint8)).numpy()
    records = [
        Record(encoded, "PNG", 6, 8, f"{i:016}", labels, dict.fromkeys(labels, HUMAN), filename=name)
        for i, (name, labels) in enumerate(entries)
    ]
    write_shard(plan, 0, records)
    finish(plan)


def test_every_stage_comes_after_what_it_needs_and_has_its_own_product():
    done = set()
    for stage in PLAN:
        assert done.issuperset(stage.needs), stage
        done.add(stage.name)
    assert len({stage.product for stage in PLAN}) == len(PLAN) == len(done)
    assert set(done) >= {f"{name}-0" for name in pretraining.RUNS}


def test_transfers_of_one_task_and_folder_come_one_after_another_with_all_arms_so_far():
    transfers = [stage for stage in PLAN if stage.command[0] == "transfer"]
    camvid = [stage for stage in transfers if "photos/finetuning.py:camvid" in " ".join(stage.command)]
    whole = [stage for stage in camvid if "--workdir=transfer" in stage.command]
    assert [stage.name for stage in whole] == [f"{group}_camvid" for group in ("question", "main", "seeds", "images")]
    assert all(before.name in after.needs for before, after in itertools.pairwise(whole))
    assert all("must=" in " ".join(stage.command) for stage in whole)
    assert len(transfers) == len(replication.GROUPS) * len(finetuning.DOWNSTREAM)


def test_what_is_missing_leaves_out_what_needs_it():
    stages = replication.plan(["camvid", datasets.HUMAN], {}, until="main")
    names = {stage.name for stage in stages}
    assert {"human-0", "main_camvid"} <= names and "must-0" not in names and "main_animals" not in names
    assert set(replication.not_run(["camvid"], TEACHERS)) == {*pretraining.RUNS}
    with pytest.raises(UserError, match="--until: unknown group 'mian'"):
        replication.plan(THERE, TEACHERS, until="mian")


def test_no_test_set_is_labeled_for_training_or_trained_on():
    labeled = [stage for stage in PLAN if stage.product.startswith("data/labeled")]
    assert all("--images=lists/" in " ".join(stage.command) for stage in labeled)
    added = [stage for stage in PLAN if stage.product.startswith("data/features")]
    assert len(added) == len(datasets.PARTS)
    assert all("--images=data/labeled/" in " ".join(stage.command) for stage in added)
    trained = {folder for run in pretraining.RUNS.values() for folder in run.train}
    assert all(folder == datasets.HUMAN or folder.startswith(("labeled/", "features/")) for folder in trained)


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Small records of what the arms and the downstream tasks read."""
    tasks = {
        "classification": Classification("classification", ("a", "b")),
        "detection": Detection("detection", ("dog",)),
        "segmentation": Segmentation("segmentation", ("x", "y")),
        "depth": Depth("depth", "affine_inverse"),
    }
    human = Classification(datasets.HUMAN, ("c", "d"))
    features = Features("features", channels=4, summary=4, projection="0" * 64)
    for part in datasets.PARTS:
        _write(tmp_path / "data" / "labeled" / part, tasks.values(), [("a.png", {})])
        _write(tmp_path / "data" / "features" / part, [*tasks.values(), features], [("a.png", {})])
    _write(tmp_path / "data" / datasets.HUMAN, [human], [("a.png", {})])
    _write(tmp_path / "data" / "downstream" / "camvid" / "train", [Segmentation("camvid", ("x", "y"))], [("a.png", {})])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", pretraining.RUNS)
def test_arms_see_as_many_images_and_their_weights_can_be_computed(records, name):
    experiment = pretraining.get_config(f"{name},2")
    assert experiment.steps * experiment.batch_size == pretraining.RECIPE.images and experiment.seed == 2
    names, rate = [task.name for task in experiment.tasks], experiment.optimizer.learning_rate
    weights = task_weights(experiment.balance, names, experiment.batch_size, rate)
    assert set(weights.values()) <= {1.0, 3.0}


def test_downstream_configs(records):
    whole, few = (finetuning.get_config(argument) for argument in ("camvid", "camvid,few"))
    assert len({*whole.train, whole.validation, whole.test}) == 3 and few.train == ("data/downstream/camvid/few",)
    assert whole.tasks[0].name == "camvid"
    started, must = finetuning.get_config("camvid,imagenet"), pretraining.get_config("imagenet_must")
    assert started.trunk == must.trunk != whole.trunk and started.train == whole.train
    for argument in ("camvit", "camvid,5"):
        with pytest.raises(UserError, match="config argument"):
            finetuning.get_config(argument)
    with pytest.raises(UserError, match="config argument 'mst'"):
        pretraining.get_config("mst")


ONE = Cell("camvid", "mIoU", "must", 0.2, 600, 0, 16, 367, {"mIoU": 0.5}, 101, {"mIoU": 0.6}, 233, 1.0, "")


def test_tables_are_made_of_what_is_there_and_say_what_is_not(tmp_path):
    out, results = tmp_path / "out", tmp_path / "results"
    for init in ("must", "classes", "human", "simclr"):
        dataclasses.replace(ONE, init=init).write(out / "transfer")
        animal = dataclasses.replace(ONE, init=init, task="animals", metric="AP50", test={"AP50": 0.5}, test_images=2)
        animal.write(out / "transfer")
        write_images(out / "transfer", animal, Ratios.of_images(np.array([0.0, 1.0]), np.array([1.0, 1.0])))
    write_json(out / "minutes.json", {"must-0": 12.0})
    write_json(out / replication.SETTINGS, {"scale": 0.5, "images": 9, "teachers": [], "data": "/home/someone/photos"})
    tables.collect(out, results)
    write_json(results / tables.NOT_VOC, [False, True])
    made = {path.stem: read_table(path) for path in tables.make(results)}
    assert {"main", "table2", "animals_without_pascal"} <= set(made) and "few" not in made
    assert made["main"].note.endswith("Not run: random, masks.") and made["main"].pretraining["must"].minutes == 12.0
    assert made["main"].command.endswith(" --until=seeds --scale=0.5")
    assert made["main"].pretraining["must"].images == pretraining.RECIPE.images // 2
    assert "someone" not in (results / tables.RUN).read_text()
    (row,) = made["animals_without_pascal"].tasks
    assert row.of("must") == (1.0,) and row.test_images == 1
    assert any(line.startswith("masks (all tasks)") for line in tables.not_run(results))
    assert any(line.startswith("must (caltech101, ") for line in tables.not_run(results))


def test_command_of_a_table_makes_all_of_its_seeds():
    until = {name: tables._command(table).rpartition("=")[2] for name, table in tables.TABLES.items()}
    own = {"table6": "images", "table7": "checkpoint", "few": "few"}
    assert until == dict.fromkeys(("main", "table2", "table3", "masks", "features"), "seeds") | own


def test_ignored_pixels_count_for_no_teacher(tmp_path):
    tasks = [
        Segmentation("camvid", tuple(datasets.CAMVID.split())),
        Segmentation("segmentation", ("sky", "car", "person")),
    ]
    truth = np.full((6, 8), tasks[0].class_names.index("car"), np.int32)
    truth[0] = 255
    entry = ("a.png", {"camvid": truth, "segmentation": np.ones((6, 8), np.int32)})
    _write(tmp_path / "data" / "truth" / "segmentation", tasks, [entry])
    assert judging.judge(tmp_path)["segmentation"] == {"images": 1, "IoU car": 1.0, "IoU person": 0.0}


def test_every_arm_is_part_of_some_table():
    compared = {init for table in tables.TABLES.values() for init in table.inits}
    assert compared == {replication.RANDOM, finetuning.IMAGENET, *pretraining.RUNS}


def test_teachers_are_scored_where_there_is_truth(tmp_path):
    depth = np.linspace(1, 4, 48, dtype=np.float32).reshape(6, 8)
    nyu = [Depth("nyu_depth"), Depth("depth", "affine_inverse")]
    _write(tmp_path / "data" / "truth" / "depth", nyu, [("0001.jpg", {"nyu_depth": depth, "depth": 3 / depth + 2})])
    found = judging.judge(tmp_path)["depth"]
    assert found["teacher"]["delta1"] == pytest.approx(1) and found["teacher"]["AbsRel"] < 1e-3
    assert found["constant"]["AbsRel"] > 0.1 and found["ramp"]["images"] == 1
    animals = [Detection("animals", ("cow", "dog")), Detection("detection", ("person", "dog"))]
    box = np.array([[0.1, 0.1, 0.9, 0.9]], np.float32)
    true = {"boxes": box, "classes": np.array([1]), "scores": np.ones(1, np.float32)}
    wrong = true | {"classes": np.array([0])}
    entries = [
        ("2007_000175.jpg", {"animals": true, "detection": wrong}),
        ("a.jpg", {"animals": true, "detection": true}),
    ]
    _write(tmp_path / "data" / "truth" / "detection", animals, entries)
    boxes = judging.judge(tmp_path)["detection"]
    assert boxes["without PASCAL's"]["AP50"] == pytest.approx(1) and boxes["all images"]["images"] == 2
    assert 0 < boxes["all images"]["AP50"] < 1
