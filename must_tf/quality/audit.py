"""Audits labels: a random sample is corrected by people, and says how right the labels of the whole dataset are."""

import collections
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.convert import FORMATS, Format, Selection, choose_tasks, convert, format_of
from must_tf.convert.images import COPY
from must_tf.errors import UserError, nearest
from must_tf.quality.audit_file import Audited, Audits, ClassShares, Image, Sample, fingerprint, read_audits
from must_tf.quality.estimate import METHOD, ratio
from must_tf.quality.strata import Found, Stratum, draw
from must_tf.records import Dataset, Quarantined, Record, check_same_labels, open_dataset
from must_tf.sources import open_source, renamed
from must_tf.sources.opening import takes_root
from must_tf.sources.source import Source
from must_tf.storage import local
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

    How the sample was drawn stands in `audit.json` in the dataset's folder, so that `audit` needs nothing else.

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
    dataset, form = open_dataset(data), format_of(to, images)
    if count < 2:
        raise UserError(f"--audit={count}: expected 2 images or more")
    audited = _auditable(dataset, form, task)
    choose_tasks(str(data), dataset.manifest.tasks, (), form, Selection(tasks=(audited.name,)))
    if not form.comes_back(audited):
        able = ", ".join(_coming_back(audited))
        raise UserError(f"--to={to}: labels of {audited.name!r} cannot be read back from this format; {able} can")
    strata = draw(lambda: _found(dataset, audited), count, seed)
    drawn = _sample(dataset, strata, seed, local(out, "out").absolute() / form.image_folder)
    numbers = tuple(image.number for image in drawn.images)
    before = read_audits(data)
    Audits(before.samples | {audited.name: drawn}, before.results).write(data)  # first: the export may be killed
    try:
        convert(data, to, out, Selection(tasks=(audited.name,), numbers=numbers), images, progress=progress)
    except BaseException:  # also a stop by Ctrl-C: people may be correcting the sample of before
        before.write(data)
        raise
    return drawn


def audit(
    data: str | os.PathLike, source: str | os.PathLike, task: str = "", root: str | os.PathLike | None = None
) -> Audited:
    """Reads a corrected sample, and estimates precision and recall by class for the whole dataset.

    Images are found by their content, whatever their names are; classes by name. What `Task.count_right` counts is
    estimated as `estimate.ratio` says. The result is written into `audit.json` in the dataset's folder.

    Args:
      data: folder of records that `sample` was called with.
      source: of the corrected labels, see `open_source`.
      task: name of the task that was audited; by default the only one.
      root: folder of the images that the labels name; by default that of the sample.

    Raises:
      UserError: no sample, or one of other labels than the dataset has now; a corrected label is missing.
    """
    dataset, audits = open_dataset(data), read_audits(data)
    name = _sampled_task(dataset, audits, task)
    drawn, audited = audits.samples[name], {task.name: task for task in dataset.manifest.tasks}[name]
    where = os.fspath(source)
    folder = root or (drawn.images_folder if takes_root(where) else None)
    corrected = _as_task(open_source(where, root=folder), where, audited)
    counts = _counts(dataset, audited, drawn, corrected, where)
    images, population, shares = len(drawn.images), sum(drawn.sizes), _shares(audited, drawn, counts)
    result = Audited(name, drawn.labels, where, drawn.seed, images, population, METHOD, shares)
    Audits(audits.samples, audits.results | {name: result}).write(data)
    return result


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


def _sample(dataset: Dataset, strata: Sequence[Stratum], seed: int, folder: Path) -> Sample:
    if not strata:
        raise UserError(f"{dataset.folder}: no image has a label of the task")
    stratum_of = {number: index for index, stratum in enumerate(strata) for number in stratum.sampled}
    images = []
    for number, place in enumerate(dataset.places()):
        if number in stratum_of:
            record = dataset.read(place, ())
            stored = hashlib.sha256(record.encoded).hexdigest()[:16]
            images.append(Image(number, stratum_of[number], record.id, stored))
    cells, sizes = zip(*((stratum.cells, stratum.size) for stratum in strata), strict=True)
    return Sample(fingerprint(dataset.manifest), seed, str(folder), cells, sizes, tuple(images))


def _sampled_task(dataset: Dataset, audits: Audits, task: str) -> str:
    """Returns the task that was sampled."""
    names = sorted(audits.samples)
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
    if audits.samples[name].labels != fingerprint(dataset.manifest):
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
    numbers = {image.number for image in drawn.images}
    places = {number: place for number, place in enumerate(dataset.places()) if number in numbers}
    wanted = collections.defaultdict[str, set[int]](set)
    for index, image in enumerate(drawn.images):
        wanted[image.id].add(index)
        wanted[image.stored].add(index)
    counts: dict[int, np.ndarray] = {}
    reasons: list[str] = []
    batch: list[tuple[int, Label, Label]] = []

    def count() -> None:
        indices, labels, truths = zip(*batch, strict=True)
        found = task.count_right(labels, truths)
        assert found is not None
        counts.update(zip(indices, found, strict=True))
        batch.clear()

    for record in _records(corrected, task, reasons):
        for index in wanted.pop(record.id, ()):
            stored = dataset.read(places[drawn.images[index].number], [task])
            batch.append((index, stored.labels[task.name], record.labels[task.name]))
        if len(batch) >= _BATCH:
            count()
    if batch:
        count()
    _check_all(counts, dataset, drawn, places, reasons, where)
    return np.stack([counts[index] for index in range(len(drawn.images))])


def _records(source: Source, task: Task, reasons: list[str]) -> Iterator[Record]:
    """Yields the records with a label; adds why others have none."""
    for shard in source.shards:
        for entry in shard():
            if isinstance(entry, Quarantined):
                reasons.append(f"{entry.name}: {entry.reason}")
            elif isinstance(entry, Record) and task.name in entry.labels:
                yield entry


def _check_all(
    counts: dict[int, np.ndarray],
    dataset: Dataset,
    drawn: Sample,
    places: dict[int, Any],
    reasons: list[str],
    where: str,
) -> None:
    """Raises a `UserError` if a corrected label is missing: those that are there are no random sample."""
    missing = [image for index, image in enumerate(drawn.images) if index not in counts]
    if missing:
        first = dataset.read(places[missing[0].number], ())
        why = f" ({reasons[0]})" if reasons else ""
        raise UserError(
            f"{where}: {len(missing)} of {len(drawn.images)} images of the sample have no corrected label, such as "
            f"{first.filename or first.id}{why}; an audit needs all of them: correct them, or give --root if the "
            "images are elsewhere"
        )


def _shares(task: Task, drawn: Sample, counts: np.ndarray) -> tuple[ClassShares, ...]:
    """Returns the shares of all classes together, and of each class that occurs."""
    strata = np.array([image.stratum for image in drawn.images])
    names: tuple[str, ...] = task.identity["class_names"]
    of_classes = {"": counts.sum(1)} | {name: counts[:, i] for i, name in enumerate(names) if counts[:, i].any()}
    return tuple(
        ClassShares(
            name,
            ratio(right, found, strata, drawn.sizes),
            ratio(right, true, strata, drawn.sizes, anywhere=True),
        )
        for name, (right, found, true) in ((name, part.T) for name, part in of_classes.items())
    )
