"""Checks before a run starts: the values of its config, its devices, its data and its workdir."""

import functools
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError, differences
from must_tf.pipeline import check_mosaic, check_size
from must_tf.records import Dataset, Record, noted, surplus_notes
from must_tf.saving import CONFIG
from must_tf.sources.decoding import look_at_nothing
from must_tf.sources.records import read_records
from must_tf.storage import write_json
from must_tf.tasks import Task
from must_tf.training.config import Experiment, read_config, to_dict
from must_tf.training.validation import check_best

_LOOKED_AT = 200  # images of each dataset
METHOD = 2  # what steps compute; 1 was version 0.1.0


def check_values(experiment: Experiment) -> None:
    """Raises a `UserError` where values of several fields do not go together; single ones have their `ranges`."""
    for size in (experiment.input_size, *experiment.view_sizes):
        check_size(size)
    if experiment.evaluate_every % experiment.log_every:
        raise UserError(
            f"evaluate_every: {experiment.evaluate_every} is no multiple of log_every, {experiment.log_every}"
        )
    if experiment.best and not experiment.validation:
        raise UserError("best: needs a `validation` folder, and none is given")
    if experiment.best and not experiment.evaluate_every:
        raise UserError("best: needs evaluate_every, and it is 0")
    if experiment.keep_heads and not experiment.init_from:
        raise UserError("keep_heads: received without init_from; name the run whose heads are kept")
    if not experiment.train:
        raise UserError("train: no folder given, expected one folder of records or more")
    check_best(experiment.best, {task.name: task for task in experiment.tasks})
    check_mosaic(experiment.augment, experiment.tasks)
    for task in experiment.tasks:
        if experiment.combine.rule == "attittud" and task.name == experiment.combine.target and not task.loss_is_sum:
            raise UserError(
                f"combine.target: {task.name!r} received; attittud needs losses of single images, which a {task.kind} "
                "does not have; take another target or combine.rule"
            )


def check_devices(experiment: Experiment, replicas: int, workers: int) -> None:
    """Raises a `UserError` where a batch cannot be divided among the devices, or a setting does not work on them."""
    accumulate = experiment.optimizer.accumulate
    parts = replicas * accumulate
    for task in experiment.tasks:
        if parts > 1 and not task.loss_is_sum:
            raise UserError(
                f"tasks: the loss of {task.name!r} ({task.kind}) needs the whole batch at once, received {replicas} "
                f"device(s) and optimizer.accumulate={accumulate}; train on one device with optimizer.accumulate=1"
            )
    for what, number in (
        ("streams", experiment.streams),
        ("parts of all replicas (their number times optimizer.accumulate)", parts),
    ):
        if experiment.batch_size % number:
            raise UserError(f"batch_size: {experiment.batch_size} cannot be divided by {number} {what}")
    if experiment.streams % workers:
        raise UserError(f"streams: {experiment.streams} is no multiple of the {workers} workers")
    on_cpus = replicas > workers and experiment.strategy != "tpu" and not tf.config.list_logical_devices("GPU")
    if experiment.trunk.sync_norm and on_cpus:
        raise UserError("trunk.sync_norm: does not work on several CPU devices of one process; take GPUs or workers")
    if experiment.trunk.sync_norm and replicas > 1 and accumulate > 1:
        raise UserError("trunk.sync_norm: cannot go with optimizer.accumulate on several devices; leave one out")


def check_labels(tasks: Sequence[Task], datasets: Sequence[Dataset], validation: Dataset | None, best: str) -> None:
    """Each dataset must have labels of some task, each task labels in some dataset, `best` labels to validate on."""
    for dataset in (*datasets, *([validation] if validation else [])):
        dataset.require(tasks, some=True)
    for task in tasks:
        if not any(sum(dataset.manifest.counts.get(task.name, {}).values()) for dataset in datasets):
            datasets[0].require([task])
    if validation and best:
        name = best.removeprefix("-").partition("/")[0]
        validation.require([task for task in tasks if task.name == name])


def surplus(tasks: Sequence[Task], datasets: Sequence[Dataset]) -> list[str]:
    """Returns what training and metrics leave out of the first labels of each dataset, one line each.

    Damaged records do not count here: who reads them for their labels names them.
    """
    lines = []
    for dataset in datasets:
        labels = dataset.manifest.counts
        own = [task for task in tasks if type(task).surplus is not Task.surplus and labels.get(task.name)]
        read = functools.partial(read_records, tasks=own, look=look_at_nothing)
        entries = itertools.chain.from_iterable(map(read, dataset.paths)) if own else ()
        records = (entry for entry in itertools.islice(entries, _LOOKED_AT) if isinstance(entry, Record))
        notes = [dict.fromkeys(surplus_notes(record, own), 1) for record in records]
        lines += [f"{dataset.folder}: of the first {len(notes)} images, {line}" for line in noted(notes)]
    return lines


def fingerprints(datasets: Sequence[Dataset]) -> dict[str, str]:
    """Returns, by folder, a SHA-256 that tells whether the records are still the same."""
    return {str(dataset.folder): dataset.manifest.digest for dataset in datasets}


def check_state(workdir: Path, state: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Raises a `UserError` unless the run that left this state beside a checkpoint can go on here.

    Args:
      workdir: of the run.
      state: of the checkpoint.
      data: of the records as they are now, see `fingerprints`.
    """
    if state.get("method") != METHOD:
        raise UserError(
            f"{workdir}: begun by another version, whose steps are computed otherwise (see the changelog); "
            "train again, with another --workdir"
        )
    check_data(state.get("data", {}), data)


def check_data(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises a `UserError` where the records are others than when the run began; see `fingerprints`."""
    for folder, digest in before.items():
        if now.get(folder, digest) != digest:
            raise UserError(
                f"{folder}: holds other records than when the run began; bring those back, or give another --workdir "
                "(--init_from=RUN --keep_heads starts it from a finished run)"
            )


def as_stored(experiment: Experiment) -> dict[str, Any]:
    """Returns a config as it is read from `config.json`: two of one meaning are equal so."""
    return json.loads(json.dumps(to_dict(experiment)))


def claim(workdir: Path, experiment: Experiment, writes: bool = True, seconds: float = 60) -> None:
    """Writes the config into a new workdir; refuses a workdir of another config, and names the fields.

    Args:
      workdir: of the run.
      experiment: its config.
      writes: whether this process writes; of several workers one does, and the others wait for it.
      seconds: that they wait.
    """
    path = workdir / CONFIG
    if writes and not path.exists():
        write_json(path, to_dict(experiment))
        return
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise UserError(
                f"{path}: worker 0 has not written it; give --workdir a folder that all share, or one in a bucket"
            )
        time.sleep(0.1)
    former = read_config(path, type(experiment))
    before, now = as_stored(former), as_stored(experiment)
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        first = next(differences(before.get(differing[0]), now[differing[0]], differing[0]))
        remedy = "give the config of before"
        if differing == ["policy"]:  # of experiments, it is what is fast on the machine
            remedy = f"give --config.policy={former.policy}, or go on where it was started"
        raise UserError(
            f"{workdir}: was started with another {', '.join(differing)} ({first}); {remedy}, or another --workdir (a "
            "run there may start from this one: --init_from, and --keep_heads for its heads)"
        )
