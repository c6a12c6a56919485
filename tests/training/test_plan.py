"""What a run will take: figures that follow from one another, and from the config."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import toy
import toy_losses

from must_tf.cli import train
from must_tf.cli.__main__ import main
from must_tf.errors import UserError
from must_tf.records import Manifest, Shard, Shards
from must_tf.training import Combine, Optimizer, plan
from must_tf.training.cost import make_step

CONFIG = """
import toy

def get_config(folder):
    return toy.experiment(folder, tasks=[toy.SCENE], batch_size=64, steps=1000)
"""

# Prints GiB that a process grows by in one step, at its peak.
MEASURE = """
import json
import tensorflow as tf
import test_plan
from must_tf.runtime.progress import peak_memory_gb
from must_tf.training.cost import make_step, targets_like

experiment = test_plan.large()
step = make_step(experiment)
images = tf.zeros([experiment.batch_size, *experiment.input_size, 3], tf.uint8)
specs = targets_like(experiment.tasks, experiment.input_size)
targets = tf.nest.map_structure(lambda s: tf.zeros([experiment.batch_size, *s.shape[1:]], s.dtype), specs)
step.__call__.get_concrete_function((images, targets))
before = peak_memory_gb()
step((images, targets))
print(json.dumps(1e9 * (peak_memory_gb() - before) / 2**30))
"""


def classifier(**fields):
    return toy.experiment("nowhere", **{"tasks": [toy.SCENE], "batch_size": 64, "steps": 1000} | fields)


def large():
    trunk = dataclasses.replace(toy.TRUNK, width=0.5)
    return classifier(trunk=trunk, input_size=(128, 128), batch_size=128)


@pytest.fixture(scope="module")
def forecast():
    return plan(classifier(), (1, 2, 4, 3, 256))


def test_more_accelerators_take_less_time_and_memory_each(forecast):
    one, two, four = forecast.rows[:3]
    assert one.hours == 2 * two.hours == 4 * four.hours
    assert one.memory - two.memory == pytest.approx(2 * (two.memory - four.memory))
    assert (one.images, two.images, four.images) == (64, 32, 16)
    assert not one.problem


def test_time_is_operations_by_speed(forecast):
    one = forecast.rows[0]
    assert one.seconds == pytest.approx(64 * forecast.step / (0.3 * 61.5e12))
    assert one.hours == pytest.approx(1000 * one.seconds / 3600)
    assert one.images_per_second == pytest.approx(64 / one.seconds)


def test_a_head_that_sees_the_target_takes_another_forward_pass_where_a_batch_is_divided():
    found = plan(classifier(tasks=[toy_losses.SEEING]), (1, 2))
    one, two = found.rows
    assert one.seconds == pytest.approx(64 * found.step / (0.3 * 61.5e12))
    assert two.seconds == pytest.approx(32 * (found.step + found.forward) / (0.3 * 61.5e12))


def test_memory_is_weights_momentum_gradients_and_activations(forecast):
    student = make_step(classifier()).student
    trained = sum(variable.shape.num_elements() for variable in student.trainable_variables)
    every = sum(variable.shape.num_elements() for variable in student.variables)
    assert sum(forecast.parameters.values()) == trained
    assert forecast.weights == pytest.approx(4 * (every + trained), rel=1e-3)
    assert forecast.gradients == 4 * trained
    assert forecast.rows[0].memory * 2**30 == forecast.weights + forecast.gradients + 64 * forecast.activations


def test_a_batch_that_cannot_be_divided_says_so(forecast):
    for row in forecast.rows[3:]:
        assert "batch_size: 64 cannot be divided" in row.problem and math.isnan(row.hours)
        assert row.problem in str(forecast)


def test_what_is_printed_holds_every_figure_and_says_what_it_is(forecast):
    text = str(forecast)
    assert "Computed, not measured" in text and "30% (assumed)" in text and "epochs" not in text
    assert all(len(line) <= 120 for line in text.splitlines() if "cannot be divided" not in line)
    assert f"{forecast.rows[0].hours:,.2f}" in text and "1,000 steps of 64 = 64,000 images" in text


def test_what_does_not_fit_would_in_parts():
    experiment = classifier(batch_size=2**17, optimizer=Optimizer("adamw", ema=0.99))
    (row,) = plan(experiment, accelerator="v100").rows
    assert row.memory > 16 and "does not fit; optimizer.accumulate=" in row.problem
    parts = int(row.problem.partition("accumulate=")[2].partition(" ")[0])
    optimizer = dataclasses.replace(experiment.optimizer, accumulate=parts)
    found = plan(dataclasses.replace(experiment, optimizer=optimizer), accelerator="v100")
    assert not found.rows[0].problem and found.rows[0].memory < 0.9 * 16
    trained = sum(found.parameters.values())
    assert found.weights == pytest.approx(4 * 4 * trained, rel=0.05)  # themselves, two of AdamW, and the average


def test_rules_that_compare_gradients_keep_those_of_each_task():
    tasks = [toy.SCENE, dataclasses.replace(toy.SCENE, name="other")]
    experiment = classifier(tasks=tasks, combine=Combine("attittud", target="scene", rank=4))
    found = plan(experiment, (1, 2))
    assert found.gradients == 4 * (sum(found.parameters.values()) + found.parameters["trunk"])
    assert not any(row.problem for row in found.rows)
    assert "2 backward passes of the trunk, by combine.rule=attittud" in str(found)


def test_epochs_are_those_of_the_records_that_are_there(toy_data):
    found = plan(toy.experiment(toy_data, tasks=[toy.SCENE], steps=11, batch_size=4), accelerator="cpu")
    assert found.epochs == 2 and "2.0 epochs" in str(found)
    assert 1e-3 < found.device.teraflops["float32"] < 1e3 and found.device.memory > 0.5


def test_folders_without_a_record_are_named(tmp_path):
    Manifest("d", "train", (toy.SCENE,), {}, {}, Shards([Shard("d", 0, 0, "", {})])).write(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}: no records to train on"):
        plan(toy.experiment(tmp_path, tasks=[toy.SCENE]), accelerator="v100")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"accelerator": "tpu-v33"}, "did you mean 'tpu-v3'"),
        ({"accelerators": (8, 0)}, "expected numbers of 1 or more"),
        ({"utilization": 30}, "expected more than 0 and 1 at most"),
        ({"accelerator": "v100"}, "take --config.policy=float32 or mixed_float16"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, words):
    with pytest.raises(UserError, match=words):
        plan(classifier(policy="mixed_bfloat16"), **arguments)


@pytest.fixture
def fresh_flags():
    """Flags keep the values of the call before."""
    yield
    train.FLAGS.unparse_flags()


def test_command_prints_and_writes_nothing(fresh_flags, tmp_path, monkeypatch, capsys):
    config, workdir = tmp_path / "config.py", tmp_path / "run"
    config.write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--plan", f"--config={config}:nowhere", f"--workdir={workdir}", "--accelerators=8,64"])
    out = capsys.readouterr().out
    assert not ended.value.code
    assert "resnet-10" in out and len(out.splitlines()) < 20
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["config.py"]


@pytest.mark.slow
def test_memory_is_that_of_a_step_within_a_factor_of_two():
    command = [sys.executable, "-c", MEASURE]
    path = [str(Path(__file__).parent), *sys.path]
    env = {"PYTHONPATH": ":".join(path), "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    planned = plan(large())
    passing = planned.activations * 128 / 2**30
    assert passing > 0.3
    assert 0.5 < json.loads(done.stdout) / passing < 2


def test_costs_follow_from_hours_records_and_cache(toy_data):
    found = plan(toy.experiment(toy_data, batch_size=2, steps=33), accelerator="v100")
    (row,) = found.rows
    size = sum(path.stat().st_size for path in toy_data.glob("*.tfrecord-*"))
    used = found.usage(row, cache_gb=1)  # 66 images of 22 are 3 epochs, and the 2 shards fit into the cache
    assert (used.kind, used.read_bytes, used.reads, used.writes) == ("v100", size, 4, 1)
    assert used.hours == pytest.approx(row.hours)
    used = found.usage(row, cache_gb=0)
    assert (used.read_bytes, used.reads) == (3 * size, 12)
    with pytest.raises(UserError, match="train: records that are not there"):
        plan(classifier()).usage(row, cache_gb=1)
