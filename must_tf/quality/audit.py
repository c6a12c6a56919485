"""Audits labels: a random sample is corrected by people, and says how right the labels of the whole dataset are."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from must_tf.convert import FORMATS, Format, Selection, choose_tasks, convert, format_of
from must_tf.convert.images import COPY
from must_tf.errors import UserError, nearest
from must_tf.quality.estimate import METHOD, ratio
from must_tf.quality.strata import Found, draw
from must_tf.records import (
    Audited,
    ClassShares,
    Dataset,
    Place,
    Quarantined,
    Record,
    Sample,
    check_same_labels,
    open_dataset,
    read_manifest,
)
from must_tf.sources import open_source, renamed
from must_tf.sources.opening import takes_root
from must_tf.sources.source import Source
from must_tf.storage import local, location
from must_tf.tasks import Task
from must_tf.tasks.task import Label

_BATCH = 100  # images whose labels are compared at once


def sample(
    data: str | os.PathLike,
    count: int,
    to: str,
    out: str | os.PathLike,
    task: str = "",
    seed: int = 0,
    images: str = COPY,
    progress: Callable[[], Any] = lambda: None,
) -> Sample:
    """Writes a random sample of labels for people to correct, stratified by class and score, see `strata.draw`.

    How the sample was drawn stands in the dataset's manifest, so that `audit` needs nothing else.

    Args:
      data: folder of records.
      count: number of images; all labeled ones, if there are fewer.
      to: format to write, see `convert`.
      out: folder for the files, new or empty.
      task: name of the task whose labels are audited; by default the only one that can be.
      seed: of the random choice.
      images: `copy`, `link` or `none`, see `convert`.
      progress: called after each image of the sample.

    Raises:
      UserError: no task, or several, whose labels can be counted by class and that the format takes; an error of
        `convert`.
    """
    check_no_former_audits(data)
    dataset, form = open_dataset(data), format_of(to, images)
    if count < 2:
        raise UserError(f"--audit={count}: expected 2 images or more")
    audited = _auditable(dataset, form, task)
    choose_tasks(str(data), dataset.manifest.tasks, (), form, Selection(tasks=(audited.name,)))
    if not form.comes_back(audited):
        able = ", ".join(_coming_back(audited))
        raise UserError(f"--to={to}: labels of {audited.name!r} cannot be read back from this format; {able} can")
    strata = tuple(draw(lambda: _found(dataset, audited), count, seed))
    if not strata:
        raise UserError(f"{data}: no image has a label of the task {audited.name!r}")
    folder = str(local(out, "out").absolute() / form.image_folder)
    drawn = Sample(dataset.manifest.fingerprint, seed, folder, strata)
    former = dataset.manifest.audits.samples.get(audited.name)
    _keep(data, samples={audited.name: drawn})  # first: the export may be killed
    try:
        convert(data, to, out, Selection(tasks=(audited.name,), numbers=drawn.numbers), images, progress=progress)
    except BaseException:  # also a stop by Ctrl-C: people may be correcting the sample of before
        _keep(data, samples={audited.name: former})
        raise
    return drawn


def audit(
    data: str | os.PathLike, source: str | os.PathLike, task: str = "", root: str | os.PathLike | None = None
) -> Audited:
    """Reads a corrected sample, and estimates precision and recall by class for the whole dataset.

    Images are found by their content, whatever their names are; classes by name. What `Task.count_right` counts is
    estimated as `estimate.ratio` says. The result is written into the dataset's manifest.

    Args:
      data: folder of records that `sample` was called with.
      source: of the corrected labels, see `open_source`.
      task: name of the task that was audited; by default the only one.
      root: folder of the images that the labels name; by default that of the sample.

    Raises:
      UserError: no sample, or one of other labels than the dataset has now; a corrected label is missing.
    """
    check_no_former_audits(data)
    dataset = open_dataset(data)
    name = _sampled_task(dataset, task)
    drawn, audited = dataset.manifest.audits.samples[name], {task.name: task for task in dataset.manifest.tasks}[name]
    where = os.fspath(source)
    folder = root or (drawn.images_folder if takes_root(where) else None)
    corrected = _as_task(open_source(where, root=folder), where, audited)
    counts = _counts(dataset, audited, drawn, corrected, where)
    images, shares = len(drawn.numbers), _shares(audited, drawn, counts)
    result = Audited(name, drawn.labels, where, drawn.seed, images, drawn.population, METHOD, shares)
    _keep(data, results={name: result})
    return result


def check_no_former_audits(data: str | os.PathLike) -> None:
    """Raises a `UserError` if audits lie beside the manifest, where they did before it held them."""
    path = location(data) / "audit.json"
    if path.exists():
        raise UserError(
            f"{path}: is no longer read, because manifest.json holds the audits; delete it, draw the sample again with "
            "--audit and the same --seed, and read the corrected one with --audit_from"
        )


def _keep(data: str | os.PathLike, **changed: dict[str, Any]) -> None:
    """Writes samples or results, by task, into the manifest of a dataset; None takes one away."""
    manifest = read_manifest(data)
    merged = {field: getattr(manifest.audits, field) | values for field, values in changed.items()}
    audits = {field: {task: one for task, one in by_task.items() if one} for field, by_task in merged.items()}
    dataclasses.replace(manifest, audits=dataclasses.replace(manifest.audits, **audits)).write(data)


def _coming_back(task: Task) -> list[str]:
    """Returns the formats from which labels of a task can be read back."""
    fit = {name: form for name, form in FORMATS.items() if isinstance(task, form.kinds) and not form.takes(task)}
    return [name for name, form in fit.items() if form.comes_back(task)]


def _auditable(dataset: Dataset, form: type[Format], name: str) -> Task:
    """Returns the task of this name or, without one, the only task whose labels can be counted by class."""
    known = {task.name: task for task in dataset.manifest.tasks}
    if name and name not in known:
        raise UserError(f"--task={name}: {dataset.folder} has no such task; {nearest(name, known)}")
    tasks = [known[name]] if name else [task for task in known.values() if isinstance(task, form.kinds)]
    able = [task for task in tasks if task.count_right([], []) is not None]
    if not able:
        kinds = ", ".join(sorted({task.kind for task in tasks})) or "the kinds that this format takes"
        raise UserError(f"{dataset.folder}: labels of {kinds} have no classes to count, and cannot be audited")
    if len(able) > 1:
        names = ", ".join(task.name for task in able)
        raise UserError(f"{dataset.folder}: tasks {names} can be audited; name one with --task={able[0].name}")
    return able[0]


def _found(dataset: Dataset, task: Task) -> Iterator[tuple[int, str, Found]]:
    """Yields number, id and classes of each record with a label."""
    for number, record in enumerate(dataset.records(tasks=[task])):
        if task.name in record.labels:
            yield number, record.id, task.classes(record.labels[task.name])


def _sampled_task(dataset: Dataset, task: str) -> str:
    """Returns the task that was sampled."""
    samples = dataset.manifest.audits.samples
    names = sorted(samples)
    if not names:
        raise UserError(
            f"{dataset.folder}: no sample was drawn from it; `must inspect DIR --audit=N --to=FORMAT --out=FOLDER` "
            "writes one for people to correct"
        )
    if not task and len(names) > 1:
        raise UserError(f"{dataset.folder}: samples of {', '.join(names)}; name one with --task={names[0]}")
    name = task or names[0]
    if name not in names:
        raise UserError(f"--task={name}: no sample of it was drawn; {nearest(name, names)}")
    if samples[name].labels != dataset.manifest.fingerprint:
        raise UserError(
            f"{dataset.folder}: its labels have changed since the sample was drawn; audit the new ones with --audit=N"
        )
    return name


def _as_task(source: Source, where: str, task: Task) -> Source:
    """Returns a source whose labels are those of the task."""
    alike = [one for one in source.tasks if one.kind == task.kind]
    named = [one for one in alike if one.name == task.name] or alike
    if len(named) != 1:
        have = ", ".join(f"{one.name} ({one.kind})" for one in source.tasks) or "no labels"
        raise UserError(f"{where}: has {have}; expected the corrected labels of {task.name} ({task.kind})")
    corrected = renamed(source, where, {task.name: named[0].name}, [task])
    check_same_labels(where, corrected.tasks, [task])
    return corrected


def _counts(dataset: Dataset, task: Task, drawn: Sample, corrected: Source, where: str) -> np.ndarray:
    """Returns what `Task.count_right` counts in each image of the sample, float [images, classes, 3]."""
    numbers = set(drawn.numbers)
    places = {number: place for number, place in enumerate(dataset.places()) if number in numbers}
    wanted = collections.defaultdict[str, set[int]](set)
    for number, place in places.items():
        image = dataset.read(place, ())
        wanted[image.id].add(number)
        wanted[hashlib.sha256(image.encoded).hexdigest()[:16]].add(number)  # differs for images that were converted
    counts: dict[int, np.ndarray] = {}
    reasons: list[str] = []
    batch: list[tuple[int, Label, Label]] = []

    def count() -> None:
        numbers, labels, truths = zip(*batch, strict=True)
        found = task.count_right(labels, truths)
        assert found is not None
        counts.update(zip(numbers, found, strict=True))
        batch.clear()

    for record in _records(corrected, task, reasons):
        for number in wanted.pop(record.id, ()):
            stored = dataset.read(places[number], [task])
            batch.append((number, stored.labels[task.name], record.labels[task.name]))
        if len(batch) >= _BATCH:
            count()
    if batch:
        count()
    _check_all(counts, dataset, places, reasons, where)
    return np.stack([counts[number] for number in drawn.numbers])


def _records(source: Source, task: Task, reasons: list[str]) -> Iterator[Record]:
    """Yields the records with a label; adds why others have none."""
    for shard in source.shards:
        for entry in shard():
            if isinstance(entry, Quarantined):
                reasons.append(f"{entry.name}: {entry.reason}")
            elif isinstance(entry, Record) and task.name in entry.labels:
                yield entry


def _check_all(
    counts: dict[int, np.ndarray], dataset: Dataset, places: dict[int, Place], reasons: list[str], where: str
) -> None:
    """Raises a `UserError` if a corrected label is missing: those that are there are no random sample."""
    missing = [number for number in places if number not in counts]
    if missing:
        first = dataset.read(places[missing[0]], ())
        why = f" ({reasons[0]})" if reasons else ""
        raise UserError(
            f"{where}: {len(missing)} of {len(places)} images of the sample have no corrected label, such as "
            f"{first.filename or first.id}{why}; an audit needs all of them: correct them, or give --root if the "
            "images are elsewhere"
        )


def _shares(task: Task, drawn: Sample, counts: np.ndarray) -> tuple[ClassShares, ...]:
    """Returns the shares of all classes together, and of each class that occurs."""
    sizes = [stratum.size for stratum in drawn.strata]
    strata = np.repeat(np.arange(len(sizes)), [len(stratum.sampled) for stratum in drawn.strata])
    names: tuple[str, ...] = task.identity["class_names"]
    of_classes = {"": counts.sum(1)} | {name: counts[:, i] for i, name in enumerate(names) if counts[:, i].any()}
    return tuple(
        ClassShares(
            name,
            ratio(right, found, strata, sizes),
            ratio(right, true, strata, sizes, anywhere=True),
        )
        for name, (right, found, true) in ((name, part.T) for name, part in of_classes.items())
    )
