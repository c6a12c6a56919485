"""A run that was stopped, anywhere and by anything, ends as one that was not: to the bit, in weights and files."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.pipeline import Mixing
from must_tf.training import Balance, Combine, Guard, Optimizer, Trainer, load_student, read_metrics, train
from must_tf.training.checkpoints import Checkpoints, variables_in
from must_tf.training.monitor import read_bad_batches

STEPS = 6
TASKS = (toy.SCENE, toy.DEPTH)
KINDS = {
    "everything": {
        "optimizer": Optimizer("adamw", 0.01, ema=0.75, accumulate=2),
        "balance": Balance("uncertainty"),
        "combine": Combine("attittud", target="depth", rank=2, refresh_every=4),
        "sizes": ((64, 64), (32, 64)),
    },
    "plain": {"optimizer": Optimizer("sgd", 0.02, clip_norm=1.0, warmup_steps=2), "conflicts_every": 2},
    "scaled": {"optimizer": Optimizer("lars", 0.02), "policy": "mixed_float16", "jit_compile": True},
}


class Killed(Exception):
    pass


_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("everything", "scaled")]


@pytest.fixture(scope="module", params=["plain", *_SLOW])
def trainer(request, toy_data, tmp_path_factory):
    return make_trainer(request.param, toy_data, tmp_path_factory.mktemp("data") / "other")


def make_trainer(kind, toy_data, other):
    """Two sources of unequal weight: one with human labels of both tasks, and a small one, gone through more than once,
    with pseudo labels of one of them; evaluation with the best student kept, logs and checkpoints out of step."""
    small = toy.toy_records(4, 5, [toy.SCENE])
    pseudo = [dataclasses.replace(record, origins={"scene": "teacher-1"}) for record in small]
    toy.write_dataset(other, pseudo, [toy.SCENE])
    experiment = toy.experiment(toy_data, other, tasks=TASKS, steps=STEPS, log_every=2, checkpoint_every=3)
    fields = {"validation": str(toy_data), "evaluate_every": 2, "best": "depth/delta1", "keep_checkpoints": 2}
    mixing = Mixing({str(other): 6.0})
    return Trainer(dataclasses.replace(experiment, mixing=mixing, **fields, **KINDS[kind]))


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    """The workdir of a run without a break, and all state at its end."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    trainer.run(workdir)
    return workdir, state_at_the_end(trainer, workdir)


def state_at_the_end(trainer, workdir):
    assert Checkpoints(workdir / "checkpoints", 2, trainer.state).restore()[0] == STEPS
    return [variable.numpy() for variable in variables_in(trainer.state)]


def assert_same_run(trainer, workdir, whole):
    other, state = whole
    for mine, theirs in zip(state_at_the_end(trainer, workdir), state, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert toy.same_weights(load_student(workdir), load_student(other))
    assert toy.same_weights(load_student(workdir / "best"), load_student(other / "best"))
    for name in ("metrics.jsonl", "best/best.json", "config.json"):
        assert (workdir / name).read_bytes() == (other / name).read_bytes(), name


def before(monkeypatch, trainer, action):
    """Has `action(steps done)` done before each step."""
    call = type(trainer.step).__call__

    def watched(step, batch, **options):
        action(int(step.optimizer.iterations))
        return call(step, batch, **options)

    monkeypatch.setattr(type(trainer.step), "__call__", watched)


def kill(*steps):
    left = list(steps)

    def action(done):
        if left and done == left[0]:
            left.pop(0)
            raise Killed

    return action


def test_run_without_a_break_is_what_it_should_be(whole):
    workdir, state = whole
    metrics = read_metrics(workdir)
    assert [line["step"] for line in metrics] == [2, 4, 6]
    assert all("validation/depth/delta1" in line and "validation/scene/top1" in line for line in metrics)
    assert all(np.isfinite(values).all() for values in state)


def random_step():
    step = int(np.random.default_rng().integers(1, STEPS))
    print(f"killed at step {step}")  # pytest shows it where the test fails
    return step


def test_killed_at_a_random_step(trainer, whole, monkeypatch, tmp_path):
    before(monkeypatch, trainer, kill(random_step()))
    with pytest.raises(Killed):
        trainer.run(tmp_path / "r")
    trainer.run(tmp_path / "r")
    assert_same_run(trainer, tmp_path / "r", whole)


@pytest.mark.slow
def test_everything_at_once_killed_at_a_random_step(toy_data, monkeypatch, tmp_path):
    trainer = make_trainer("everything", toy_data, tmp_path / "other")
    trainer.run(tmp_path / "whole")
    state = state_at_the_end(trainer, tmp_path / "whole")
    before(monkeypatch, trainer, kill(random_step()))
    with pytest.raises(Killed):
        trainer.run(tmp_path / "r")
    trainer.run(tmp_path / "r")
    assert_same_run(trainer, tmp_path / "r", (tmp_path / "whole", state))


@pytest.mark.slow
def test_killed_again_and_again(trainer, whole, monkeypatch, tmp_path):
    before(monkeypatch, trainer, kill(2, 4, 3))
    for _ in range(3):
        with pytest.raises(Killed):
            trainer.run(tmp_path / "r")
    trainer.run(tmp_path / "r")
    assert_same_run(trainer, tmp_path / "r", whole)


@pytest.mark.parametrize("signal_", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_ends_the_run_after_the_step_with_a_checkpoint_of_it(
    trainer, whole, monkeypatch, tmp_path, capsys, signal_
):
    sent = []

    def action(done):
        if done == 4 and not sent:
            sent.append(signal_)
            os.kill(os.getpid(), signal_)

    before(monkeypatch, trainer, action)
    with pytest.raises(SystemExit) as end:
        trainer.run(tmp_path / "r")
    assert end.value.code == 128 + signal_
    assert "stopped after step 5; the same command resumes the run" in capsys.readouterr().out
    trainer.run(tmp_path / "r")
    assert "resumed at step 5" in capsys.readouterr().out
    assert_same_run(trainer, tmp_path / "r", whole)


@pytest.mark.parametrize(
    "error",
    [pytest.param(Killed(), marks=pytest.mark.slow), tf.errors.ResourceExhaustedError(None, None, "No space left")],
)
@pytest.mark.parametrize("moment", ["data", pytest.param("state", marks=pytest.mark.slow)])
def test_killed_in_the_middle_of_a_save_or_disk_full(trainer, whole, monkeypatch, tmp_path, error, moment):
    """Half a checkpoint is none: of the files, or all of them and no state beside them."""

    def half(self, path, *options):
        if moment == "state":
            write(self, path, *options)
        else:
            Path(f"{path}.data-00000-of-00001").write_bytes(b"half")
        raise error

    write = tf.train.Checkpoint.write
    monkeypatch.setattr(tf.train.Checkpoint, "write", half)
    with pytest.raises(type(error)):
        trainer.run(tmp_path / "r")
    monkeypatch.setattr(tf.train.Checkpoint, "write", write)
    assert not list((tmp_path / "r" / "checkpoints").glob("step-*"))
    trainer.run(tmp_path / "r")
    assert_same_run(trainer, tmp_path / "r", whole)


def test_damaged_checkpoint_is_left_out(trainer, whole, monkeypatch, tmp_path, capsys):
    sent = []

    def action(done):
        if done == 4 and not sent:  # a checkpoint at step 5 beside that at step 3
            sent.append(os.kill(os.getpid(), signal.SIGTERM))

    before(monkeypatch, trainer, action)
    with pytest.raises(SystemExit):
        trainer.run(tmp_path / "r")
    (file,) = (tmp_path / "r" / "checkpoints" / "step-00000005").glob("weights.data*")
    file.write_bytes(file.read_bytes()[:-100])
    trainer.run(tmp_path / "r")
    said = capsys.readouterr().out
    assert "is damaged; skipped" in said and "resumed at step 3" in said
    assert_same_run(trainer, tmp_path / "r", whole)


def test_run_without_one_whole_checkpoint_does_not_begin_anew_by_itself(trainer, monkeypatch, tmp_path):
    before(monkeypatch, trainer, kill(4))
    with pytest.raises(Killed):
        trainer.run(tmp_path / "r")
    (file,) = (tmp_path / "r" / "checkpoints").glob("step-*/weights.data*")
    file.unlink()
    metrics = (tmp_path / "r" / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="no checkpoint is whole"):
        trainer.run(tmp_path / "r")
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == metrics


def test_run_is_not_taken_up_with_other_records(trainer, monkeypatch, tmp_path):
    before(monkeypatch, trainer, kill(4))
    with pytest.raises(Killed):
        trainer.run(tmp_path / "r")
    monkeypatch.setitem(trainer.data, str(trainer.datasets[1].folder), "0" * 64)
    with pytest.raises(UserError, match="other: holds other records than when the run began"):
        trainer.run(tmp_path / "r")


class TestNotFinite:
    """Labels that make the loss infinite come at steps of our choice."""

    @pytest.fixture(scope="class")
    def trainer(self, toy_data):
        guard = Guard(in_a_row=2, rate_factor=0.5, rollbacks=2)
        optimizer = Optimizer("sgd", 0.02, clip_norm=1.0, ema=0.5)
        return Trainer(
            toy.experiment(toy_data, tasks=TASKS, steps=STEPS, log_every=1, guard=guard, optimizer=optimizer)
        )

    @pytest.fixture
    def poisoned(self, trainer, monkeypatch):
        """Makes the depths of some steps infinite; a function that returns whether to, given the steps done."""

        def arm(is_bad):
            call = type(trainer.step).__call__

            def step(self, batch, **options):
                images, targets = batch
                if is_bad(int(self.optimizer.iterations)):
                    broken = {key: value * np.inf if value.dtype.is_floating else value for key, value in
                              targets["depth"].items()}  # fmt: skip
                    batch = images, targets | {"depth": broken}
                return call(self, batch, **options)

            monkeypatch.setattr(type(trainer.step), "__call__", step)

        return arm

    def test_step_is_not_applied_and_its_images_are_written_down(self, trainer, poisoned, monkeypatch, tmp_path):
        states = []

        def is_bad(done):
            iterations = trainer.step.optimizer.iterations
            states.append([v.numpy() for v in variables_in(trainer.state) if v is not iterations])
            return done == 3

        poisoned(is_bad)
        trainer.run(tmp_path / "r")
        for was, is_now in zip(states[3], states[4], strict=True):
            np.testing.assert_array_equal(was, is_now)
        assert any((a != b).any() for a, b in zip(states[2], states[3], strict=True))
        (bad,) = read_bad_batches(tmp_path / "r")
        assert (bad["step"], bad["rollbacks"], bad["images"]) == (4, 0, trainer.ids(4))
        assert len(bad["images"]) == 4
        assert [line.get("not_applied", 0) for line in read_metrics(tmp_path / "r")] == [0, 0, 0, 1, 0, 0]

    def test_row_of_them_goes_back_with_a_lower_rate(self, trainer, poisoned, tmp_path, capsys):
        poisoned(lambda done: done in (2, 3, 4) and float(trainer.rate_factor) == 1)
        trainer.run(tmp_path / "r")
        said = capsys.readouterr().out
        assert "2 steps in a row" in said and "back to step 2 with 0.5 times the learning rate" in said
        assert [line["step"] for line in read_metrics(tmp_path / "r")] == [1, 2, 3, 4, 5, 6]
        rates = [line["learning_rate"] for line in read_metrics(tmp_path / "r")]
        full = [0.01 * (1 + np.cos(np.pi * step / STEPS)) for step in range(STEPS)]
        assert rates == pytest.approx([*full[:2], *(0.5 * rate for rate in full[2:])], rel=1e-5)

    def test_no_checkpoint_is_kept_of_a_row_that_is_not_over(self, trainer, poisoned, monkeypatch, tmp_path, capsys):
        """However seldom the run looks at its losses, there is a checkpoint from before to go back to."""
        guard = dataclasses.replace(trainer.experiment.guard, in_a_row=3)
        fields = {"log_every": 6, "checkpoint_every": 1, "keep_checkpoints": 1, "guard": guard}
        monkeypatch.setattr(trainer, "experiment", dataclasses.replace(trainer.experiment, **fields))
        poisoned(lambda done: done in (1, 2, 3) and float(trainer.rate_factor) == 1)
        trainer.run(tmp_path / "r")
        assert "back to step 1 with 0.5 times" in capsys.readouterr().out
        assert [(bad["step"], bad["rollbacks"]) for bad in read_bad_batches(tmp_path / "r")] == [(2, 0), (3, 0), (4, 0)]

    def test_run_that_was_asked_to_stop_goes_back_as_far_as_one_that_was_not(
        self, trainer, poisoned, monkeypatch, tmp_path
    ):
        """A checkpoint that only the stop has made is none to go back to."""
        fields = {"log_every": 6, "checkpoint_every": 2, "keep_checkpoints": 1}
        monkeypatch.setattr(trainer, "experiment", dataclasses.replace(trainer.experiment, **fields))
        poisoned(lambda done: done in (3, 4) and float(trainer.rate_factor) == 1)
        trainer.run(tmp_path / "whole")
        state = state_at_the_end(trainer, tmp_path / "whole")
        sent = []

        def action(done):
            if done == 2 and not sent:  # the stop's checkpoint is at step 3, beyond that of step 2
                sent.append(os.kill(os.getpid(), signal.SIGTERM))

        before(monkeypatch, trainer, action)
        with pytest.raises(SystemExit):
            trainer.run(tmp_path / "r")
        assert (tmp_path / "r" / "checkpoints" / "step-00000003").is_dir()
        trainer.run(tmp_path / "r")
        for mine, theirs in zip(state_at_the_end(trainer, tmp_path / "r"), state, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for name in ("metrics.jsonl", "bad_batches.jsonl"):
            assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_without_a_checkpoint_before_it_goes_back_to_the_start(self, trainer, poisoned, tmp_path, capsys):
        poisoned(lambda done: done < 2 and float(trainer.rate_factor) == 1)
        trainer.run(tmp_path / "r")
        assert "back to step 0 with 0.5 times" in capsys.readouterr().out

    def test_run_stops_in_one_line_after_going_back_too_often(self, trainer, poisoned, tmp_path):
        poisoned(lambda done: done > 2)
        with pytest.raises(
            UserError,
            match=r"after going back 2 times; lower optimizer.learning_rate .*in another --workdir.*bad_batches",
        ):
            trainer.run(tmp_path / "r")
        assert {line["rollbacks"] for line in read_bad_batches(tmp_path / "r")} == {0, 1, 2}

    def test_killed_after_going_back(self, trainer, poisoned, monkeypatch, tmp_path):
        poisoned(lambda done: done in (2, 3, 4) and float(trainer.rate_factor) == 1)
        trainer.run(tmp_path / "whole")
        state = state_at_the_end(trainer, tmp_path / "whole")
        before(monkeypatch, trainer, kill(3, 5))
        for _ in range(2):
            with pytest.raises(Killed):
                trainer.run(tmp_path / "r")
        trainer.run(tmp_path / "r")
        for mine, theirs in zip(state_at_the_end(trainer, tmp_path / "r"), state, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for name in ("metrics.jsonl", "bad_batches.jsonl"):
            assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_noresume_refuses_a_workdir_with_a_run(toy_data, toy_run):
    with pytest.raises(UserError, match="holds a run already"):
        train(toy.experiment(toy_data), toy_run, resume=False)


def test_two_runs_at_once_in_one_workdir(toy_data, trainer, monkeypatch, tmp_path):
    def action(done):
        if done == 1:
            train(toy.experiment(toy_data, tasks=[toy.SCENE]), tmp_path / "r")

    before(monkeypatch, trainer, action)
    with pytest.raises(UserError, match="another run is at work there"):
        trainer.run(tmp_path / "r")


CONFIG = """
import toy

def get_config(folder):
    return toy.experiment(folder, steps=6, batch_size=2, tasks=[toy.SCENE], keep_checkpoints=2)
"""
FULL_DISK = """
mount -t tmpfs -o size={size}k none {disk} || exit 77
{command}; code=$?
ls {disk}/run/checkpoints/step-00000006 2> /dev/null && exit 1
mount -o remount,size=1g {disk} && {command} && cp -r {disk}/run {disk}-kept && exit $code
"""


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_disk_that_is_really_full(toy_data, tmp_path, share):
    """Of a size that holds a part of what a run writes; with more room, the same command goes on."""
    (tmp_path / "c.py").write_text(CONFIG)
    environment = f"PYTHONPATH={Path(toy.__file__).parent}"
    train = f"{environment} {sys.executable} -m must_tf.cli train --config={tmp_path}/c.py:{toy_data} --workdir="
    subprocess.run(f"{train}{tmp_path / 'whole'}", shell=True, check=True)
    size = sum(file.stat().st_size for file in (tmp_path / "whole").rglob("*") if file.is_file())
    disk = tmp_path / "disk"
    disk.mkdir()
    script = FULL_DISK.format(size=int(share * size / 1024), disk=disk, command=f"{train}{disk / 'run'}")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("a disk of its own cannot be mounted here")
    assert done.returncode == 2, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("must: error: ")]
    assert "the same command" in error and "Traceback" not in done.stderr
    assert toy.same_weights(load_student(f"{disk}-kept"), load_student(tmp_path / "whole"))
    assert read_metrics(f"{disk}-kept") == read_metrics(tmp_path / "whole")
