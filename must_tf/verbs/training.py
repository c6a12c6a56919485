"""`must train` and `must finetune` as functions: a config and a workdir in, a finished student out."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from must_tf import former, training
from must_tf.errors import UserError
from must_tf.parsing import read_object
from must_tf.records.shard_cache import DEFAULT_GB, limit
from must_tf.saving import CONFIG
from must_tf.storage import location
from must_tf.student import Student
from must_tf.training import Experiment, load_config
from must_tf.training.config import changed, read_config, scaled


def train(
    config: Experiment | str | os.PathLike | None,
    workdir: str | os.PathLike,
    *,
    steps: int | None = None,
    init_from: str | os.PathLike | None = None,
    keep_heads: bool = False,
    resume: bool = True,
    scale: float = 1.0,
    overrides: Mapping[str, str] | None = None,
    cache_gb: float = DEFAULT_GB,
) -> Student:
    """Trains a student, continues a run that was stopped, or adds steps to one that is finished.

        student = must_tf.train(Experiment(tasks=..., train="data/photos", steps=1000), "runs/photos")
        student = must_tf.train(None, "runs/photos", steps=2000)  # 1000 more

    Args:
      config: the experiment, or `FILE.py` or `FILE.py:ARGUMENT`; None is the config of the run in the workdir.
      workdir: folder for the files of the run.
      steps: number of steps in all, instead of the config's; more than the run had continue it.
      init_from: weights that a new run starts from: an export, a finished workdir, or a Model Garden checkpoint.
      keep_heads: whether it also starts from the heads of the run `init_from`, of those tasks that both have.
      resume: whether a run in the workdir is continued; without it, such a workdir is refused.
      scale: factor on the config's number of steps.
      overrides: other values of the config's fields, {"optimizer.learning_rate": "0.3"}.
      cache_gb: GB on this disk for copies of the shards that lie in buckets.

    Raises:
      UserError: bad config or data, or the workdir belongs to another config.
    """
    limit(cache_gb)
    experiment = resolved(config, workdir, steps, init_from, keep_heads, scale, overrides)
    return training.train(experiment, workdir, resume)


def finetune(
    config: Experiment | str | os.PathLike,
    init_from: str | os.PathLike,
    workdir: str | os.PathLike,
    *,
    keep_heads: bool = False,
    scale: float = 1.0,
    overrides: Mapping[str, str] | None = None,
    cache_gb: float = DEFAULT_GB,
) -> Student:
    """Trains tasks of your own, starting from the trunk of an export or of a finished run.

        must_tf.finetune("mine.py", init_from="exports/photos", workdir="runs/mine")

    Args:
      config: the experiment, or `FILE.py` or `FILE.py:ARGUMENT`; its trunk is replaced by that of `init_from`.
      init_from: the export or the workdir. For comparison, `random:DIR` is its architecture with random weights, and
        `random` the config's own trunk with random weights.
      workdir: folder for the files of the run.
      keep_heads: see `train`.
      scale: factor on the config's number of steps.
      overrides: other values of the config's fields.
      cache_gb: see `train`.

    Raises:
      UserError: see `train`.
    """
    limit(cache_gb)
    experiment = as_experiment(config, overrides, scale)
    if keep_heads:
        experiment = dataclasses.replace(experiment, keep_heads=True)
    return training.finetune(experiment, str(init_from), workdir)


def resolved(
    config: Experiment | str | os.PathLike | None,
    workdir: str | os.PathLike,
    steps: int | None = None,
    init_from: str | os.PathLike | None = None,
    keep_heads: bool = False,
    scale: float = 1.0,
    overrides: Mapping[str, str] | None = None,
) -> Experiment:
    """Returns the experiment that `train` runs, given its arguments."""
    if config is not None:
        experiment = as_experiment(config, overrides, scale)
    elif scale != 1:
        raise UserError(f"--scale={scale:g}: received without --config; give --steps=N, the number of steps in all")
    else:
        experiment = changed(_of_run(workdir), overrides or {})
    given: dict[str, Any] = {} if steps is None else {"steps": steps}
    given |= {} if init_from is None else {"init_from": str(init_from)}
    given |= {"keep_heads": True} if keep_heads else {}
    return dataclasses.replace(experiment, **given)


def _of_run(workdir: str | os.PathLike) -> Experiment:
    """Returns the experiment of the run in a workdir."""
    path = location(workdir) / CONFIG
    if not path.exists():
        raise UserError(f"--config: not given, and {workdir} holds no run; expected FILE.py, or FILE.py:ARGUMENT")
    others = sorted({*former.config(read_object(path))} - {field.name for field in dataclasses.fields(Experiment)})
    if others:
        raise UserError(
            f"--config: not given, and the run in {workdir} is of another command or a newer version: its config has "
            f"{', '.join(others)}; give the command that started it again, such as "
            f"`python -m must_tf.experiments.simclr --config=FILE.py --workdir={workdir}`"
        )
    return read_config(path)


def as_experiment(
    config: Experiment | str | os.PathLike, overrides: Mapping[str, str] | None, scale: float
) -> Experiment:
    """Returns an experiment, or that of a config file, with other values of its fields."""
    if isinstance(config, str | os.PathLike):
        return load_config(os.fspath(config), overrides, scale)
    return changed(scaled(config, scale), overrides or {})
