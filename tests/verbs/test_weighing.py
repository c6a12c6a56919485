"""Weights by how much each task helps a target: what helps, what does not, what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import toy

import must_tf
from must_tf import verbs
from must_tf.errors import UserError
from must_tf.tasks import Classification
from must_tf.training import Balance, Optimizer
from must_tf.training.balance import task_weights
from must_tf.training.config import changed
from must_tf.verbs import weighing

LIGHT = Classification("light", ("dark", "bright"))
NOISE = Classification("noise", ("a", "b"))
WAVES = Classification("waves", ("across", "along"))
MINE = Classification("mine", ("dark", "bright"))


def records(count, seed, *tasks, size=32):
    """Records of waves in noise. `waves`: their direction; `noise` is drawn; other tasks: whether red is bright."""
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        bright, along = i % 2, int(rng.integers(2))
        wave = np.sin(np.arange(size) * np.pi / 4 + rng.uniform(0, 2 * np.pi))
        image = rng.normal(120, 40, (size, size, 3)) + 25 * (wave[:, None, None] if along else wave[None, :, None])
        image[..., 0] += 30 * bright
        labels = {t.name: {"noise": int(rng.integers(2)), "waves": along}.get(t.name, bright) for t in tasks}
        found.append(toy.record(np.clip(image, 0, 255).astype(np.uint8), labels))
    return found


def write(folder, count, seed, *tasks, size=32, order=1):
    """Writes records of these tasks; an order of -1 writes the same ones backwards."""
    toy.write_dataset(folder, records(count, seed, *tasks, size=size)[::order], tasks)
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


def test_a_run_whose_records_are_elsewhere_says_so(run, target, tmp_path):
    config = json.loads((run / "config.json").read_text()) | {"train": ["data/gone"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"trains on data/gone, and no records are there; .* or --records=DIR"):
        verbs.weigh(tmp_path, target)


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
    with pytest.raises(UserError, match="one: no label of task 'noise'"):
        verbs.weigh(run, target, write(data / "one", 8, 4, LIGHT))


@pytest.mark.slow
def test_a_target_that_reads_a_pyramid_needs_a_student_with_one(run, data):
    toy.write_dataset(data / "depth", toy.toy_records(32, 7, [toy.DEPTH]), [toy.DEPTH])
    with pytest.raises(UserError, match=r"reads a feature pyramid, which this student lacks"):
        verbs.weigh(run, data / "depth")


# A student that has begun to learn: of three tasks, one has the labels of the target, on other images.

SMALL = {"batches": 8, "head_steps": 30}


@pytest.fixture(scope="module")
def learning(eagerly, data, tmp_path_factory):
    tasks = (LIGHT, NOISE, WAVES)
    experiment = toy.experiment(
        write(data / "waves", 256, 0, *tasks, size=64), tasks=tasks, steps=40, batch_size=16, checkpoint_every=40,
        optimizer=Optimizer("sgd", 0.02, clip_norm=1.0), balance=Balance(weights={"noise": 2.0}),
    )  # fmt: skip
    workdir = tmp_path_factory.mktemp("runs") / "learning"
    must_tf.train(experiment, workdir)
    return workdir


@pytest.fixture(scope="module")
def weighed(learning, data):
    return must_tf.weigh(learning, write(data / "many", 128, 5, MINE, size=64), **SMALL)


@pytest.mark.slow
def test_the_task_with_the_labels_of_the_target_gets_the_weight(weighed):
    light, others = weighed.helps["light"], [weighed.helps["noise"], weighed.helps["waves"]]
    assert light.low > max(0, *(one.high for one in others)), weighed
    assert light.share == max(one.share for one in weighed.helps.values()) > 0.5
    assert weighed.weights["light"] > 1


@pytest.mark.slow
def test_a_target_with_random_labels_is_refused(learning, data):
    folder = write(data / "random", 128, 5, NOISE, size=64)
    with pytest.raises(UserError, match=r"heads of 'noise' on this student have learned nothing .* more labeled"):
        must_tf.weigh(learning, folder, **SMALL)


@pytest.mark.slow
def test_the_file_and_the_flags_have_the_weights_that_training_takes(learning, weighed):
    told = json.loads((learning / "weights.json").read_text())
    assert told["weights"] == weighed.weights and told["task"] == "mine" and told["images"] == 128
    assert told["tasks"]["light"] == dataclasses.asdict(weighed.helps["light"])
    overrides = dict(flag.removeprefix("--config.").split("=") for flag in weighed.flags.split())
    experiment = changed(toy.experiment("x", tasks=(LIGHT, NOISE, WAVES)), overrides)
    assert task_weights(experiment.balance, list(weighed.weights), 1, 1.0) == weighed.weights


@pytest.mark.slow
def test_the_same_images_in_another_order_and_under_another_name_give_the_same_bytes(learning, data, weighed, tmp_path):
    """A run again is the same too; and the names of tasks, which decide nothing."""
    again = write(data / "backwards", 128, 5, dataclasses.replace(MINE, name="yours"), size=64, order=-1)
    found = must_tf.weigh(learning, again, out=tmp_path / "weights.json", **SMALL)
    assert found.helps == weighed.helps and found.head_losses == weighed.head_losses
    before, now = (json.loads(path.read_text()) for path in (learning / "weights.json", tmp_path / "weights.json"))
    assert before | {"target": str(again), "task": "yours"} == now


@pytest.mark.slow
def test_it_is_an_error_if_no_task_is_shown_to_help(toy_run, data, monkeypatch):
    """Here, random maps on a student of all kinds, whose heads learn nothing: that is refused before."""
    floor = dataclasses.replace(toy.STUFF, name="floor")
    toy.write_dataset(data / "floor", toy.toy_records(32, 8, [floor]), [floor])
    monkeypatch.setattr(weighing, "check_learned", lambda losses, name: None)
    with pytest.raises(UserError, match=r"no task is shown to help 'floor'; .* give more --batches \(8\)"):
        verbs.weigh(toy_run, data / "floor", batches=8, head_steps=4)
