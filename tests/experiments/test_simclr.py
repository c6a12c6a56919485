import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

import must_tf
from must_tf.errors import UserError
from must_tf.experiments import simclr
from must_tf.experiments.simclr import Learner, SimCLR, make_view, nt_xent, pretrain, random_views, view_batches
from must_tf.pipeline import Augment, Strong
from must_tf.records import open_dataset
from must_tf.saving import read_architecture
from must_tf.training import Experiment, Optimizer, Trainer, load_student, load_trunk, read_metrics
from must_tf.training.checks import claim

STEPS = 6
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def experiment(toy_data, eagerly):
    """Logs and checkpoints out of step, and an average of the weights."""
    optimizer = Optimizer("sgd", 0.02, clip_norm=1.0, ema=0.5)
    fields = {"steps": STEPS, "batch_size": 4, "log_every": 2, "checkpoint_every": 3, "optimizer": optimizer}
    return SimCLR(**vars(toy.experiment(toy_data, tasks=[toy.SCENE], **fields)), temperature=0.2, min_scale=0.2)


@pytest.fixture(scope="module")
def learner(experiment):
    """A learner of its own, and its backbone's first weights."""
    made = Learner(dataclasses.replace(experiment, optimizer=Optimizer("sgd", 0.05)))
    return made, [variable.numpy() for variable in made.student.backbone.variables]


def test_bound_on_the_norm_bounds_the_step(experiment):
    optimizer = Optimizer("sgd", 0.1, momentum=0.0, weight_decay=0.0, clip_norm=1e-3)
    made = Learner(dataclasses.replace(experiment, optimizer=optimizer))
    before = [variable.numpy() for variable in made.variables]
    views = np.random.default_rng(0).integers(0, 256, [4, 2, *experiment.view_sizes[0], 3], np.uint8)
    values = made.step(tf.constant(views))
    moved = [variable.numpy() - start for variable, start in zip(made.variables, before, strict=True)]
    length = np.sqrt(sum(np.sum(np.square(part, dtype=np.float64)) for part in moved))
    assert float(values["gradient_norm"]) > 1e-2
    assert length == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    """The workdir of a run without a break."""
    workdir = tmp_path_factory.mktemp("runs") / "simclr"
    pretrain(experiment, workdir)
    return workdir


def views(experiment, start=0, count=1):
    datasets = [open_dataset(folder) for folder in experiment.train]
    return [batch.numpy() for batch in view_batches(datasets, experiment, start).take(count)]


# The loss


def test_loss_is_that_of_a_plain_computation():
    rows, temperature = np.random.default_rng(0).normal(size=(10, 7)), 0.3
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similar = np.exp(unit @ unit.T / temperature)
    losses, found = [], []
    for i in range(10):
        other = i + 1 if i % 2 == 0 else i - 1
        rest = [j for j in range(10) if j != i]
        losses.append(-np.log(similar[i, other] / similar[i, rest].sum()))
        found.append(rest[np.argmax(similar[i, rest])] == other)
    loss, share = nt_xent(tf.constant(rows, tf.float32), temperature)
    assert loss.numpy() == pytest.approx(np.mean(losses), rel=1e-5)
    assert share.numpy() == pytest.approx(np.mean(found))


def test_identical_pairs_are_found_and_random_ones_are_chance():
    rng = np.random.default_rng(0)
    rows = tf.constant(rng.normal(size=(64, 32)), tf.float32)
    alike, found = nt_xent(tf.repeat(rows, 2, axis=0), 0.1)
    strangers, chance = nt_xent(tf.constant(rng.normal(size=(128, 32)), tf.float32), 0.1)
    assert alike < 1 < math.log(127) < strangers and found == 1 and chance < 0.1
    same, _ = nt_xent(tf.ones([128, 32]), 0.1)
    assert same.numpy() == pytest.approx(math.log(127), rel=1e-4)


def test_loss_knows_no_length_and_takes_bfloat16():
    rows = tf.constant(np.random.default_rng(0).normal(size=(8, 4)), tf.float32)
    lengths = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]])
    np.testing.assert_allclose(nt_xent(rows, 0.2)[0], nt_xent(rows * lengths, 0.2)[0], rtol=1e-5)
    assert nt_xent(tf.cast(rows, tf.bfloat16), 0.2)[0].dtype == tf.float32


# The views


def test_views_of_an_image_differ_and_a_seed_gives_them_again(experiment):
    first, second = views(experiment, count=2)
    assert first.shape == (4, 2, *toy.VIEW, 3) and first.dtype == np.uint8
    assert all(np.any(one != other) for one, other in first)
    assert np.any(first != second)
    np.testing.assert_array_equal(views(experiment)[0], first)
    assert np.any(views(dataclasses.replace(experiment, seed=1))[0] != first)


def test_batches_can_be_entered_anywhere(experiment):
    whole = views(experiment, count=9)  # more than an epoch of 22 images
    np.testing.assert_array_equal(views(experiment, 7)[0], whole[7])


def test_views_keep_to_their_bounds(experiment):
    experiment = dataclasses.replace(experiment, gray=0.25, augment=Augment(flip=True))
    change, sides = random_views(4000, experiment, tf.constant([0, 1], tf.int64))
    area, aspect = np.prod(sides, 1), sides[:, 1] / sides[:, 0]
    assert 0.2 <= area.min() < 0.22 and 0.98 < area.max() <= 1 + 1e-6 and 0.59 < area.mean() < 0.61
    assert 0.75 - 1e-6 <= aspect.numpy().min() < 0.76 and 1.32 < aspect.numpy().max() <= 4 / 3 + 1e-6
    turned = np.ones([1, 3]) @ change.colors.numpy()
    assert np.ptp(turned, axis=2).max() < 1e-5  # gray stays gray
    grays = np.abs(change.colors - change.colors[:, :, :1]).max((1, 2)) < 1e-6
    plain = np.abs(change.colors - np.eye(3)).max((1, 2)) < 1e-6
    assert 0.22 < grays.mean() < 0.28 and 0.12 < plain.mean() < 0.18 and 0.45 < change.flip.numpy().mean() < 0.55
    still = dataclasses.replace(experiment, augment=Augment(flip=False))
    assert not random_views(99, still, tf.constant([0, 1], tf.int64))[0].flip.numpy().any()


def test_each_view_is_blurred_or_not_and_nothing_else_changes(experiment):
    plain = views(experiment)[0].astype(int)
    some, every = (
        views(dataclasses.replace(experiment, augment=Augment(strong=Strong(blur=share))))[0] for share in (0.5, 1.0)
    )
    flat = [values.reshape(8, -1) for values in (plain, some, every)]
    as_plain, as_blurred = (flat[1] == flat[0]).all(1), (flat[1] == flat[2]).all(1)
    assert (as_plain | as_blurred).all() and not as_plain.all() and not (as_blurred & ~as_plain).all()
    edges = [np.abs(np.diff(values, axis=-2)).mean() for values in (plain, every.astype(int))]
    assert edges[1] < edges[0]


@pytest.mark.parametrize("size", [(64, 64), (48, 160), (200, 90), (12, 9)])
def test_a_view_is_the_window_that_was_drawn(size, experiment):
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    ramps = np.stack([rows * 255 / height, columns * 255 / width, np.full(size, 7)], -1).astype(np.uint8)
    still = dataclasses.replace(experiment, color=0, gray=0, augment=Augment(flip=True))
    change, sides = random_views(6, still, tf.constant([3, 1], tf.int64))
    for i in range(6):
        one = tf.nest.map_structure(lambda part, i=i: part[i], change)
        view = make_view(tf.constant(toy.png(ramps)), tf.constant(size), toy.VIEW, one, sides[i]).numpy()
        assert view.shape == (*toy.VIEW, 3) and (view[..., 2] == 7).all()  # no padding
        shown = np.minimum(sides[i] * math.sqrt(height * width), size) / size
        spans = np.ptp(view[..., 0].astype(float)) / 255, np.ptp(view[..., 1].astype(float)) / 255
        np.testing.assert_allclose(spans, shown, atol=0.03 + 1.2 / min(size))
        assert (view[0, 0, 1] > view[0, -1, 1]) == bool(one.flip)


# Learning


def test_loss_falls(experiment, learner):
    batch = tf.constant(views(experiment)[0])
    losses = [float(learner[0].step(batch)["loss"]) for _ in range(STEPS)]
    assert losses[-1] < 0.8 * losses[0]


def test_loss_that_is_not_finite_ends_the_run(experiment, learner, tmp_path):
    weights = learner[0].projection.variables[0]
    weights.assign(np.nan * weights)
    datasets = [open_dataset(folder) for folder in experiment.train]
    with pytest.raises(UserError, match=r"no finite loss or gradient at step 1; lower optimizer.learning_rate"):
        simclr._train(learner[0], datasets, experiment, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_run_leaves_a_finished_workdir(experiment, finished, capsys):
    assert {path.name for path in finished.iterdir()} == {
        "checkpoints", "config.json", "metrics.jsonl", "student", "tensorboard"
    }  # fmt: skip
    metrics = read_metrics(finished)
    assert [line["step"] for line in metrics] == [2, 4, 6]
    assert all(np.isfinite(list(line.values())).all() and 0 <= line["found"] <= 1 for line in metrics)
    assert toy.same_weights(pretrain(experiment, finished), load_student(finished))
    assert "finished" in capsys.readouterr().out
    assert read_architecture(finished).tasks == (toy.SCENE,)


def test_trunk_goes_into_other_runs_and_the_head_was_not_trained(finished, learner, toy_data, tmp_path):
    trained = load_student(finished)
    heads = zip(trained.heads["scene"].variables, learner[0].student.heads["scene"].variables, strict=True)
    assert all(np.array_equal(*map(np.asarray, pair)) for pair in heads)
    trainer = Trainer(toy.experiment(toy_data, tasks=[toy.SCENE], steps=1))
    assert load_trunk(trainer.student, finished) == ["backbone"]
    for own, theirs in zip(trainer.student.backbone.variables, trained.backbone.variables, strict=True):
        np.testing.assert_array_equal(own.numpy(), theirs.numpy())
    moved = [np.any(a != b.numpy()) for a, b in zip(learner[1], trained.backbone.variables, strict=True)]
    assert all(moved)
    trainer.run(tmp_path / "downstream", str(finished))
    assert (tmp_path / "downstream" / "student").is_dir()


def assert_same_run(one, other):
    assert toy.same_weights(load_student(one), load_student(other))
    assert Path(one, "metrics.jsonl").read_bytes() == Path(other, "metrics.jsonl").read_bytes()


def test_killed_run_ends_as_one_that_ran_through(experiment, finished, tmp_path):
    """As a kill at step 5 leaves it: a checkpoint of step 3, a line of step 4, and a file half written."""
    workdir = tmp_path / "killed"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "student")
    shutil.rmtree(workdir / "checkpoints" / "step-00000006")
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (workdir / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
    pretrain(experiment, workdir)
    assert_same_run(workdir, finished)


def test_stopped_run_ends_as_one_that_ran_through(experiment, finished, tmp_path, monkeypatch):
    def watched(learner, batch):
        if learner.optimizer.iterations == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step.__get__(learner, Learner)(batch)

    step = Learner.step
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", watched)
        with pytest.raises(SystemExit) as stopped:
            pretrain(experiment, tmp_path / "stopped")
    assert stopped.value.code == 128 + signal.SIGTERM and not (tmp_path / "stopped" / "student").exists()
    pretrain(experiment, tmp_path / "stopped")
    assert_same_run(tmp_path / "stopped", finished)


# What users get wrong


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": (toy.DEPTH,)}, "depth received, expected one task of classification"),
        ({"tasks": (toy.SCENE, toy.DEPTH)}, "scene, depth received"),
        ({"init_from": "runs/other"}, "init_from: 'runs/other' received"),
        ({"policy": "mixed_float16"}, "policy"),
        ({"batch_size": 1}, "batch_size: 1"),
        ({"optimizer": Optimizer(accumulate=2)}, "optimizer.accumulate"),
        ({"augment": Augment(mosaic=0.5)}, "augment.mosaic: 0.5 received"),
        ({"strategy": "multiworker"}, "strategy: 'multiworker' received"),
    ],
)
def test_config_that_cannot_be(experiment, tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        pretrain(dataclasses.replace(experiment, **fields), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_workdir_of_another_run(experiment, finished, tmp_path):
    with pytest.raises(UserError, match=r"simclr: was started with another temperature \(.*0\.2, now 0\.5"):
        pretrain(dataclasses.replace(experiment, temperature=0.5), finished)
    with pytest.raises(UserError, match="another steps"):
        pretrain(dataclasses.replace(experiment, steps=9), finished)
    plain = Experiment(**{field.name: getattr(experiment, field.name) for field in dataclasses.fields(Experiment)})
    claim(tmp_path, plain)
    with pytest.raises(UserError, match="another temperature"):
        pretrain(experiment, tmp_path)
    with pytest.raises(UserError, match="returned a SimCLR, which its own command trains"):
        Trainer(experiment)


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"min_scale": 1.5}, {"color": 1.0}, {"gray": -0.1}])
def test_settings_that_cannot_be(experiment, fields):
    (name,) = fields
    with pytest.raises(UserError, match=rf"{name}: {fields[name]} received, expected "):
        dataclasses.replace(experiment, **fields)


CONFIG = """
import toy
from must_tf.experiments.simclr import SimCLR
def get_config(kind=""):
    plain = toy.experiment({folder!r}, tasks=[toy.SCENE], steps=2)
    return plain if kind == "plain" else SimCLR(**vars(plain))
"""


def test_command(toy_data, tmp_path, capsys):
    (tmp_path / "config.py").write_text(CONFIG.format(folder=str(toy_data)))
    arguments = [f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'run'}", "--config.seed=1"]
    with pytest.raises(SystemExit) as ended:
        simclr.run([*arguments, "--config.temperature=0.3", "--config.keep_checkpoints=0"])
    assert not ended.value.code and "the finished student" in capsys.readouterr().out
    assert load_student(tmp_path / "run").tasks.keys() == {"scene"} and not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(SystemExit) as ended:
        simclr.run([*arguments, "--config.temperature=-1"])
    assert ended.value.code == 2 and "--config.temperature: -1" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"is of another command .* has color, gray.*must_tf.experiments.simclr"):
        must_tf.train(None, tmp_path / "run")  # must_tf knows no configs of experiments
    with pytest.raises(SystemExit) as ended:
        simclr.run([f"--config={tmp_path / 'config.py'}:plain", f"--workdir={tmp_path / 'other'}"])
    assert ended.value.code == 2 and "returned Experiment, expected a SimCLR" in capsys.readouterr().err


def test_module_that_is_run_knows_the_class_of_configs(toy_data, tmp_path):
    (tmp_path / "config.py").write_text(CONFIG.format(folder=str(toy_data)))
    argv = [f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'run'}", "--config.batch_size=1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "must_tf.experiments.simclr", *argv]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2 and "expected 2 images or more" in ended.stderr


MIRRORED = """
import dataclasses, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as tests do, see conftest.py
import numpy as np
import toy
from must_tf.experiments.simclr import Learner, SimCLR, pretrain
from must_tf.training.strategy import distribute, make_strategy

data, out = sys.argv[1:]
experiment = SimCLR(**vars(toy.experiment(data, tasks=[toy.SCENE], steps=2, batch_size=4, strategy="mirrored")))
half = np.random.default_rng(0).integers(0, 256, [2, 2, *toy.VIEW, 3], np.uint8)
views, values = tf.constant(np.concatenate([half, half])), []
for name in ("one", "mirrored"):
    strategy = make_strategy(name)
    with strategy.scope():
        learner = Learner(experiment)
    batch = distribute(learner.strategy, views)
    values.append([{key: float(value) for key, value in learner.step(batch).items()} for _ in range(2)])
for one, mirrored in zip(*values):
    for key in ("loss", "gradient_norm"):
        np.testing.assert_allclose(mirrored[key], one[key], rtol=1e-3, err_msg=key)
assert learner.strategy.num_replicas_in_sync == 2
pretrain(experiment, out)
"""


def test_devices_compare_the_views_of_all(toy_data, tmp_path):
    """Both devices have the same images, so that their batch norms have the statistics of one device with all."""
    paths = os.pathsep.join([str(Path(toy.__file__).parent), *sys.path])
    command = [sys.executable, "-c", MIRRORED, str(toy_data), str(tmp_path / "run")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(read_metrics(tmp_path / "run")[-1]["loss"])
    assert load_student(tmp_path / "run").tasks.keys() == {"scene"}


def test_share_of_the_views_is_compared_with_all():
    rows = tf.constant(np.random.default_rng(0).normal(size=(12, 5)), tf.float32)
    whole = nt_xent(rows, 0.2)
    shares = [nt_xent(rows[start : start + 4], 0.2, rows, start) for start in (0, 4, 8)]
    np.testing.assert_allclose(np.mean(shares, 0), whole, rtol=1e-5)
