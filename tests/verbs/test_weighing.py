"""Weights by how much each task helps a target: what is refused."""

import dataclasses

import numpy as np
import pytest
import toy

import must_tf
from must_tf import verbs
from must_tf.errors import UserError
from must_tf.tasks import Classification
from must_tf.training import Balance

LIGHT = Classification("light", ("dark", "bright"))
NOISE = Classification("noise", ("a", "b"))
MINE = Classification("mine", ("dark", "bright"))
SMALL = {"batches": 6, "head_steps": 2, "rank": 2}


def records(count, seed, *tasks):
    """Records of plain images with noise: `noise` is drawn, all other tasks are whether the image is bright."""
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        bright = i % 2
        image = np.clip(rng.normal(80 + 90 * bright, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
        labels = {task.name: int(rng.integers(2)) if task is NOISE else bright for task in tasks}
        found.append(toy.record(image, labels))
    return found


def write(folder, count, seed, *tasks, order=1):
    """Writes records of these tasks; an order of -1 writes the same ones backwards."""
    toy.write_dataset(folder, records(count, seed, *tasks)[::order], tasks)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(eagerly, data, tmp_path_factory):
    """A student of two tasks, one of which is noise."""
    experiment = toy.experiment(
        write(data / "train", 32, 0, LIGHT, NOISE), tasks=(LIGHT, NOISE), steps=4, batch_size=8, input_size=(32, 32),
        balance=Balance(weights={"noise": 2.0}),
    )  # fmt: skip
    workdir = tmp_path_factory.mktemp("runs") / "run"
    must_tf.train(experiment, workdir)
    return workdir


@pytest.fixture(scope="module")
def target(data):
    return write(data / "mine", 32, 1, MINE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "min"}, r"--task=min: .* has no label of it; did you mean 'mine'\?"),
        ({"records": ["missing"]}, "missing"),
        ({"batches": 1}, "--batches: 1 received, expected 2 or more"),
        ({"batch_size": 2}, "32 labeled images of 'mine' for batches of 2; expected 32 or more"),
    ],
)
def test_a_bad_option_is_one_line(run, target, options, said):
    with pytest.raises(UserError, match=said):
        verbs.weigh(run, target, **options)


def test_a_target_that_cannot_be_measured_is_one_line(run, data, target, toy_data, tmp_path):
    for folder, said in {
        toy_data: r"has labels of several tasks; give one of them, as --task=(\w+): \1, ",
        write(data / "few", 31, 2, MINE): "31 labeled images of 'mine'",
        write(data / "unlabeled", 4, 3): "has no label; give records with labels",
        "missing": "missing",
    }.items():
        with pytest.raises(UserError, match=said):
            verbs.weigh(run, folder)
    with pytest.raises(UserError, match=r"has the records of .*train, whose gradients are measured against it"):
        verbs.weigh(run, data / "train", task="light")
    with pytest.raises(UserError, match="holds no run"):
        verbs.weigh(tmp_path, target)
    with pytest.raises(UserError, match=r"train: no label of task 'noise'"):
        verbs.weigh(run, target, write(data / "one", 8, 4, LIGHT))


@pytest.mark.slow
def test_a_target_that_reads_a_pyramid_needs_a_student_with_one(run, data):
    toy.write_dataset(data / "depth", toy.toy_records(32, 7, [toy.DEPTH]), [toy.DEPTH])
    with pytest.raises(UserError, match=r"reads a feature pyramid, which this student lacks"):
        verbs.weigh(run, data / "depth")


@pytest.mark.slow
def test_it_is_an_error_if_no_task_is_shown_to_help(run, data):
    folder = write(data / "noise", 32, 5, NOISE)
    with pytest.raises(UserError, match=r"no task is shown to help 'noise'; .* give more --batches \(6\)"):
        verbs.weigh(run, folder, **SMALL)


@pytest.mark.slow
def test_a_target_with_a_head_of_another_kind_is_measured(toy_run, data):
    """Maps on a student of all kinds: each has a finite cosine, and shares that sum to 1 before and after."""
    floor = dataclasses.replace(toy.STUFF, name="floor")
    toy.write_dataset(data / "floor", toy.toy_records(32, 8, [floor]), [floor])
    try:
        found = must_tf.weigh(toy_run, data / "floor", batches=8, head_steps=4, rank=2)
    except UserError as error:  # random labels: nothing may help
        assert "no task is shown to help 'floor'" in f"{error}"
        return
    assert sum(one.share_before for one in found.helps.values()) == pytest.approx(1)
    assert sum(one.share for one in found.helps.values()) == pytest.approx(1)
