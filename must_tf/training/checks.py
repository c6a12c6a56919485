"""What is checked before a run begins: the values of its config, its devices, its data, and its workdir."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.files import read_json, write_json
from must_tf.pipeline import check_size
from must_tf.records import Dataset
from must_tf.tasks import Task
from must_tf.training.checkpoint import CONFIG
from must_tf.training.config import Experiment, from_dict, to_dict
from must_tf.training.validation import check_best


def check_values(experiment: Experiment) -> None:
    """Raises a `UserError` where a field's value is impossible."""
    for size in (experiment.input_size, *experiment.sizes):
        check_size(size)
    for name in ("steps", "batch_size", "log_every", "checkpoint_every", "streams"):
        if getattr(experiment, name) < 1:
            raise UserError(f"{name}: {getattr(experiment, name)} received, expected 1 or more")
    if experiment.optimizer.accumulate < 1:
        raise UserError(f"optimizer.accumulate: {experiment.optimizer.accumulate} received, expected 1 or more")
    if experiment.evaluate_every % experiment.log_every:
        raise UserError(
            f"evaluate_every: {experiment.evaluate_every} is no multiple of log_every, {experiment.log_every}"
        )
    if (experiment.evaluate_every or experiment.best) and not experiment.validation:
        raise UserError("evaluate_every, best: need a `validation` folder, and none is given")
    if experiment.best and not experiment.evaluate_every:
        raise UserError("best: needs evaluate_every, and it is 0")
    if not experiment.train:
        raise UserError("train: no folder given, expected one folder of records or more")
    check_best(experiment.best, {task.name: task for task in experiment.tasks})


def check_devices(experiment: Experiment, replicas: int, workers: int) -> None:
    """Raises a `UserError` where a batch cannot be divided among the devices, or a setting does not work on them."""
    for what, number in (
        ("streams", experiment.streams),
        ("parts of all replicas (their number times optimizer.accumulate)", replicas * experiment.optimizer.accumulate),
    ):
        if experiment.batch_size % number:
            raise UserError(f"batch_size: {experiment.batch_size} cannot be divided by {number} {what}")
    if experiment.streams % workers:
        raise UserError(f"streams: {experiment.streams} is no multiple of the {workers} workers")
    on_cpus = replicas > workers and experiment.strategy != "tpu" and not tf.config.list_logical_devices("GPU")
    if experiment.trunk.sync_norm and on_cpus:
        raise UserError("trunk.sync_norm: does not work on several CPU devices of one process; take GPUs or workers")


def check_labels(tasks: Sequence[Task], datasets: Sequence[Dataset], validation: Dataset | None) -> None:
    """Each dataset must have labels of some task, and each task must have labels in some dataset."""
    for dataset in (*datasets, *([validation] if validation else [])):
        dataset.require(tasks, some=True)
    for task in tasks:
        if not any(sum(dataset.manifest.counts.get(task.name, {}).values()) for dataset in datasets):
            datasets[0].require([task])


def claim(workdir: Path, experiment: Experiment) -> None:
    """Writes the config into a new workdir; refuses a workdir of another config, and names the fields."""
    path = workdir / CONFIG
    if not path.exists():
        write_json(path, to_dict(experiment))
        return
    try:
        former = from_dict(read_json(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    before, now = (json.loads(json.dumps(to_dict(one))) for one in (former, experiment))
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        raise UserError(
            f"{workdir}: was started with another {', '.join(differing)} ({_difference(before, now, differing[0])}); "
            "give another --workdir (where a run may start from this one's trunk, by --init_from), or the former config"
        )


def _difference(before: Any, now: Any, name: str) -> str:
    """Says how two configs differ in a field, down to the innermost one."""
    old, new = before.get(name), now[name]
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(key for key in new if old.get(key) != new[key]) if old.keys() == new.keys() else ""
        if inner:
            return f"{name}.{_difference(old, new, inner)}"
    return f"{name}: {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 100 else text[:97] + "..."
