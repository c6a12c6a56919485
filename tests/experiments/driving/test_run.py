"""The stages of the driving experiment fit together, and its configs are YOLOP's three tasks, joint and single."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.experiments.driving import judging, metrics, models, paper, student
from must_tf.experiments.driving.run import plan, run
from must_tf.records import HUMAN, Plan, Record, finish, write_shard
from must_tf.tasks import Detection, Segmentation
from must_tf.tasks.detection import boxes
from must_tf.training.config import from_dict, to_dict

TEACHERS = {task: model.teacher for task, model in models.MODELS.items()}
PLAN = plan(TEACHERS, seeds=2)


def test_every_stage_comes_after_what_it_needs_and_has_its_own_product():
    done = set()
    for stage in PLAN:
        assert done.issuperset(stage.needs), stage
        done.add(stage.name)
    assert len({stage.product for stage in PLAN}) == len(PLAN) == len(done)
    assert done >= {f"score_{name}-{seed}" for name in student.RUNS for seed in (0, 1)}


def test_no_test_frame_is_trained_on_and_a_share_of_the_frames_is_one_everywhere():
    assert all(run.train == ("labeled/train",) for run in student.RUNS.values())
    labels = [stage for stage in plan(TEACHERS, percent=5) if stage.command[0] == "label"]
    assert all(stage.command[1].endswith("[:5%]") for stage in labels)


def test_what_is_missing_leaves_out_the_students_that_need_it():
    names = {stage.name for stage in plan({task: TEACHERS[task] for task in ("drivable", "lanes")})}
    assert names == {
        *("label_train", "label_validation", "label_test"),
        *("drivable-0", "score_drivable-0", "lanes-0", "score_lanes-0"),
    }
    assert plan({}) == []


@pytest.mark.parametrize(("configs", "steps"), [(student, 1500), (paper, 350_000)])
def test_joint_and_single_students_differ_in_their_tasks_alone(configs, steps):
    joint = configs.get_config("joint,3")
    assert [task.name for task in joint.tasks] == ["vehicles", "drivable", "lanes"] and joint.seed == 3
    for task in joint.tasks:
        single = configs.get_config(f"{task.name},3")
        assert single.tasks == (task,) and single.train == joint.train and single.trunk == joint.trunk
        assert single.steps == joint.steps == steps and single.optimizer == joint.optimizer
    assert from_dict(to_dict(joint)) == joint


@pytest.mark.parametrize("configs", [student, paper])
@pytest.mark.parametrize("argument", ["jont", "joint,x"])
def test_unknown_arguments_are_refused(configs, argument):
    with pytest.raises(UserError, match="config argument"):
        configs.get_config(argument)


def test_tasks_are_those_of_bdd100k():
    vehicles, drivable, lanes = student.get_config().tasks
    assert isinstance(vehicles, Detection) and vehicles.class_names == ("vehicle",)
    assert isinstance(drivable, Segmentation) and drivable.class_names == ("background", "drivable")
    assert isinstance(lanes, Segmentation) and lanes.class_names == ("background", "lane")
    assert {task.name: task.identity for task in paper.get_config().tasks} == {
        task.name: task.identity for task in (vehicles, drivable, lanes)
    }


def _write(folder, tasks, entries):
    """Writes records of black images: labels each."""
    made = Plan(folder, "frames", "test", tuple(tasks), 1, {})
    encoded = tf.io.encode_png(np.zeros((4, 6, 3), np.uint8)).numpy()
    records = [
        Record(encoded, "PNG", 4, 6, f"{i:016}", labels, dict.fromkeys(labels, HUMAN), filename=f"{i}.png")
        for i, labels in enumerate(entries)
    ]
    write_shard(made, 0, records)
    finish(made)


def test_students_are_scored_against_the_road_and_against_their_teachers(tmp_path):
    vehicles, drivable, lanes = student.get_config().tasks
    scene = Segmentation("scene", ("road", "sky"))
    truth = np.repeat([[0], [1], [1], [255]], 6, 1).astype(np.int32)  # sky, two rows of road, and nobody knows
    half, line = (truth == 1).astype(np.int32), np.zeros((4, 6), np.int32)
    half[1], line[2, :2] = 0, 1
    box = np.array([[0.1, 0.1, 0.6, 0.6], [0.5, 0.5, 0.9, 0.9]], np.float32)
    boxes = {"boxes": box, "classes": np.zeros(2, int), "scores": np.ones(2, np.float32), "ignore": np.array([0, 1])}
    camvid = Segmentation("camvid", ("sky", "road"))
    labels = {"camvid": truth, "drivable": half, "lanes": line, "vehicles": boxes, "scene": np.zeros((4, 6), np.int32)}
    _write(tmp_path / "data" / "labeled" / "test", (camvid, vehicles, drivable, lanes, scene), [labels])
    guess = np.roll(line, 1, 1)
    own = {"camvid": truth, "drivable": (truth == 1).astype(np.int32), "lanes": guess, "vehicles": boxes}
    _write(tmp_path / "data" / "scored" / "joint-0", (camvid, vehicles, drivable, lanes), [own])
    found = judging.judge(tmp_path)
    assert found["teachers"]["drivable"]["dataset_IoU"] == 0.5 and found["teachers"]["drivable"]["images"] == 1
    assert found["teachers"]["scene"]["dataset_IoU"] == pytest.approx(2 / 3)  # all road: the sky is wrong
    joint = found["joint-0"]
    assert joint["drivable"]["dataset_mIoU"] == 1 and joint["lanes"]["dataset_IoU"] == pytest.approx(1 / 3)
    assert joint["lanes"]["accuracy"] == pytest.approx(0.5)
    assert joint["vehicles"] == {"images": 1, "recall": 1.0, "AP50": pytest.approx(1.0)}  # of the sure one
    assert judging.judge(tmp_path / "elsewhere") == {}
    other = Segmentation("drivable", ("background", "street"))
    _write(tmp_path / "other" / "data" / "labeled" / "test", (camvid, other), [{"camvid": truth, "drivable": half}])
    with pytest.raises(UserError, match="drivable: has the classes background, street; expected road or drivable"):
        judging.judge(tmp_path / "other")


def test_folder_without_any_model_is_refused(tmp_path, capsys):
    for split in ("train", "validation", "test"):
        (tmp_path / "data" / "camvid" / split / "images").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        run([f"--data={tmp_path / 'data'}", f"--out={tmp_path / 'out'}"])
    assert ended.value.code == 2 and "has the model of no teacher" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results").exists()


def test_published_table_and_differences_are_made_from_the_published_json():
    folder = Path(judging.__file__).parent
    page = (folder / "RESULTS.md").read_text()
    scores = json.loads((folder / "results" / "scores.json").read_text())
    assert page.partition("<!-- scores -->\n```text\n")[2].partition("```")[0].rstrip("\n") == judging.table(scores)
    compared = [("vehicles", "AP50"), ("drivable", "mIoU"), ("lanes", "accuracy"), ("lanes", "IoU")]
    less = [100 * (scores["joint-0"][task][key] - scores[f"{task}-0"][task][key]) for task, key in compared]
    assert f"| here | {' | '.join(f'{value:+.1f}' for value in less)} |" in page
    joint, single = paper.PUBLISHED["joint"], paper.PUBLISHED["single"]
    theirs = [f"{100 * (joint[task][key] - single[task][key]):+.1f}" for task, key in compared]
    assert f"| YOLOP on BDD100K, published | {' | '.join(theirs)} |" in page
    for name, tasks in {"joint": joint, "each task alone": single}.items():
        assert (
            f"| {name} | {' | '.join(f'{100 * one:.1f}' for task in tasks.values() for one in task.values())} | "
            in page
        )


def test_page_has_the_suppression_of_yolops_code_and_ours():
    page = (Path(judging.__file__).parent / "RESULTS.md").read_text()
    vehicles = paper.TASKS["vehicles"]
    theirs = f"confidence {metrics.LEAST_CONFIDENCE}, IoU {metrics.NMS_IOU}, at most {metrics.MOST_BOXES} boxes"
    ours = f"confidence {boxes.LEAST_SCORE}, IoU {boxes.SUPPRESSED}, at most {vehicles.max_outputs} boxes"
    assert f"| suppression in testing | not given | {theirs} | {ours} |" in page
