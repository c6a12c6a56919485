"""Several devices of one machine: two logical CPUs, in a process of its own, for they are made before all else."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import toy

import must_tf.training.strategy
from must_tf.errors import UserError
from must_tf.tasks import Classification
from must_tf.training import Combine, Optimizer, load_student, read_metrics
from must_tf.training.checks import check_devices, check_values
from must_tf.training.strategy import check_same, make_strategy, together, worker_of

SCRIPT = """
import dataclasses, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as tests do, see conftest.py
import numpy as np
import toy
from must_tf.errors import UserError
from must_tf.training import Combine, Optimizer, Trainer
from must_tf.training.combine import Combiner

data, out, rule = sys.argv[1:]
combine = Combine(rule, target="depth", rank=2, refresh_every=2)
optimizer = Optimizer("sgd" if rule == "sum" else "adamw", 0.01, ema=0.5)
fields = {"tasks": [toy.SCENE, toy.DEPTH], "strategy": "mirrored", "optimizer": optimizer}
experiment = toy.experiment(data, validation=data, evaluate_every=2, best="depth/delta1", combine=combine, **fields)
for change, said in (
    ({"trunk": dataclasses.replace(toy.TRUNK, sync_norm=True)}, "does not work on several CPU devices"),
    ({"batch_size": 3}, "3 cannot be divided by 2 parts"),
):
    try:
        Trainer(dataclasses.replace(experiment, **change))
    except UserError as error:
        assert said in str(error), error
    else:
        raise AssertionError(said)

trainer = Trainer(experiment)
assert trainer.strategy.num_replicas_in_sync == 2
batch = next(iter(trainer.batches(0)))
parts = trainer.strategy.experimental_local_results(batch[0])
assert [len(part) for part in parts] == [2, 2]
assert (parts[0].numpy() != parts[1].numpy()).any()
trainer.run(out)
for variable in trainer.student.trainable_variables:
    one, other = (value.numpy() for value in trainer.strategy.experimental_local_results(variable))
    np.testing.assert_array_equal(one, other)

if rule == "sum":
    call = type(trainer.step).__call__

    def killed(step, batch, **options):
        if step.optimizer.iterations.numpy() == 3:
            type(trainer.step).__call__ = call
            raise EOFError
        return call(step, batch, **options)

    type(trainer.step).__call__ = killed
    try:
        trainer.run(out + "-killed")
    except EOFError:
        trainer.run(out + "-killed")
    sys.exit()
gradients = np.random.default_rng(0).normal(size=(6, 3, 5)).astype(np.float32)


def basis(strategy):
    with strategy.scope():
        combiner = Combiner(dataclasses.replace(combine, rank=3), ["scene", "depth"], [tf.Variable(gradients[0])], 0)
    count = len(gradients) // strategy.num_replicas_in_sync
    parts = strategy.experimental_distribute_values_from_function(
        lambda replica: tf.constant(gradients[replica.replica_id_in_sync_group * count :][:count])
    )
    # Each replica's weights are its own; here the combinations are those of all of them together.
    refresh = tf.function(lambda own: combiner.refresh([tf.tensordot(combiner.draw(count), own, [[0], [0]])]))
    strategy.run(refresh, args=(parts,))
    found = np.stack([strategy.experimental_local_results(direction) for direction in combiner.basis], 1)
    for directions in found:
        np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-5)
        np.testing.assert_array_equal(directions, found[0])
    return found[0].T @ found[0]


np.testing.assert_allclose(basis(trainer.strategy), basis(tf.distribute.get_strategy()), atol=1e-5)
"""


@pytest.mark.parametrize("rule", ["sum", "attittud"])
def test_two_devices_train_one_student(toy_data, tmp_path, rule):
    environment = {"PYTHONPATH": str(Path(toy.__file__).parent), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    argv = [sys.executable, "-c", SCRIPT, str(toy_data), str(tmp_path / "r"), rule]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = read_metrics(tmp_path / "r")
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    assert "validation/depth/delta1" in metrics[-1]
    student, best = load_student(tmp_path / "r"), load_student(tmp_path / "r" / "best")
    assert [v.shape for v in student.variables] == [v.shape for v in best.variables]
    assert all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in student.variables)
    if rule == "sum":
        assert "resumed at step " in done.stdout
        for one, other in zip(load_student(tmp_path / "r-killed").variables, student.variables, strict=True):
            # Each device has statistics of its own, of which the checkpoint holds the mean.
            np.testing.assert_allclose(one, other, rtol=0, atol=0 if one.trainable else 1e-6)
        for line, same in zip(read_metrics(tmp_path / "r-killed"), metrics, strict=True):
            trained = {name for name in line if not name.startswith("validation/")}
            assert {name: line[name] for name in trained} == {name: same[name] for name in trained}
            assert line == pytest.approx(same, abs=1e-3)


def test_machine_without_a_tpu_is_told_in_one_line(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(UserError, match="strategy=tpu: no TPU is attached to this machine") as error:
        make_strategy("tpu")
    assert "\n" not in str(error.value)


def test_shared_statistics_do_not_go_with_accumulation_on_several_devices(toy_data):
    optimizer = Optimizer("sgd", accumulate=2)
    trunk = dataclasses.replace(toy.TRUNK, sync_norm=True)
    experiment = toy.experiment(toy_data, optimizer=optimizer, trunk=trunk, streams=2)
    check_devices(experiment, replicas=1, workers=1)
    with pytest.raises(UserError, match=r"trunk.sync_norm: cannot go with optimizer.accumulate"):
        check_devices(experiment, replicas=2, workers=2)


@dataclasses.dataclass(frozen=True)
class Contrast(Classification):
    """A kind whose loss compares the images of a batch."""

    loss_is_sum: ClassVar[bool] = False


def test_loss_that_compares_images_is_refused_where_batches_are_divided(toy_data):
    def check(replicas, accumulate):
        tasks, optimizer = [toy.DEPTH, Contrast("alike", ("a", "b"))], Optimizer("sgd", accumulate=accumulate)
        check_devices(toy.experiment(toy_data, tasks=tasks, optimizer=optimizer), replicas, workers=1)

    check(1, 1)
    for replicas, accumulate in ((1, 2), (2, 1)):
        with pytest.raises(UserError, match=r"loss of 'alike' \(contrast\) needs the whole batch") as error:
            check(replicas, accumulate)
        assert f"{replicas} device(s) and optimizer.accumulate={accumulate};" in str(error.value)
        assert "\n" not in str(error.value)


def test_loss_that_compares_images_is_no_target_of_attittud(toy_data):
    tasks = [toy.DEPTH, Contrast("alike", ("a", "b"))]
    check_values(toy.experiment(toy_data, tasks=tasks, combine=Combine("attittud", target="depth")))
    with pytest.raises(UserError, match=r"combine.target: 'alike' received; attittud needs losses of single images"):
        check_values(toy.experiment(toy_data, tasks=tasks, combine=Combine("attittud", target="alike")))


def test_one_device_is_one_worker():
    strategy = make_strategy("one")
    assert worker_of(strategy) == (0, 1) and strategy.num_replicas_in_sync == 1


def test_workers_that_differ_are_named_in_one_line(monkeypatch):
    """Two workers of two devices each; this one is the second."""
    found = []
    monkeypatch.setattr(must_tf.training.strategy, "worker_of", lambda _: (1, 2))
    monkeypatch.setattr(must_tf.training.strategy, "gathered", lambda _, number: [*found, number, number])
    found[:] = [0, 0]
    said = r"^worker 1 has other records than worker 0, make them the same; worker 1 has a+ \.\.\. a+$"
    with pytest.raises(UserError, match=said) as error:
        check_same(None, "records", "a" * 1000)
    assert len(str(error.value)) < 500
    assert together(None, lambda: "done") == "done"
    found[:] = [1, 1]
    with pytest.raises(UserError, match="worker 0 has ended with an error, which it says itself"):
        together(None, lambda: "done")
    with pytest.raises(UserError, match="mine"):
        together(None, lambda: (_ for _ in ()).throw(UserError("mine")))


def test_broken_tf_config_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}{")
    with pytest.raises(UserError, match="TF_CONFIG: not valid JSON"):
        make_strategy("multiworker")
