"""Labels a whole collection of images, shard by shard."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from must_tf import files
from must_tf.errors import UserError
from must_tf.labeling.runners import Runner
from must_tf.labeling.shard import Job, run_job
from must_tf.progress import Progress
from must_tf.records import Manifest, Plan, Shard, check_same_labels, finish, pending, read_manifest, written
from must_tf.records.manifest import FILE
from must_tf.sources import MAX_PIXELS, Source, open_source
from must_tf.sources.source import DUPLICATE
from must_tf.tasks import Task
from must_tf.teachers import Teacher

_EARLY = 1000  # images after which a share of bad ones says something


def label(
    images: str | os.PathLike,
    teachers: Sequence[Teacher],
    out: str | os.PathLike,
    batch_size: int = 32,
    images_per_shard: int = 1000,
    *,
    runner: Runner | None = None,
    max_bad: float = 0.05,
    max_pixels: int = MAX_PIXELS,
    licence: str = "",
) -> Manifest:
    """Runs teachers over images and writes records with their labels; a second call finishes what a first one left.

    Args:
      images: what `open_source` takes: a folder (recursive), a glob, a list file, a folder of records, whose human
        labels stay, `tfrecord:GLOB`, `tfds:NAME/SPLIT`, `voc:FOLDER/Main/trainval` and other labelled datasets.
      teachers: one a task; none where the images have human labels, which then become records alone.
      out: folder for the dataset.
      batch_size: images that a teacher sees at once.
      images_per_shard: about how many records a file holds; for photographs, 1000 are some 128 MB.
      runner: where shards are labelled, see `labeling.runners`; in this process by default.
      max_bad: share of images that may be quarantined.
      max_pixels: size from which an image is quarantined before it is decoded.
      licence: of the images, for the manifest; that of a folder of records by default.

    Raises:
      UserError: no images; no teacher; a file at `out`, another run's output, or another run at work there; not one
        image could be read; too many could not; a teacher that gave no label at all.
    """
    source = open_source(str(images), images_per_shard, max_pixels)
    tasks = united_tasks(images, source, teachers)
    described = {teacher.id: teacher.describe() for teacher in teachers}
    made_from = {
        "images": str(images),
        "count": source.count,
        "listing": source.listing,
        "max_pixels": max_pixels,
        "teachers": described,
    }
    if licence or source.licence:
        made_from["licence"] = licence or source.licence
    plan = Plan(Path(out), "labelled", "train", tasks, len(source.shards), made_from)
    for path in (plan.folder, *plan.folder.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{plan.folder}: {path.name} is a file; expected a folder, new or of the same command")
    with files.locked(plan.folder):
        todo = pending(plan)
        left = set(todo)
        if not todo and (plan.folder / FILE).exists():
            return _checked(plan.folder, read_manifest(out), teachers)
        done = [written(plan, index) for index in range(plan.num_shards) if index not in left]
        jobs = [Job(plan, index, source.shards[index], tuple(teachers), batch_size) for index in todo]
        shards = [*done, *_run(jobs, runner, done, source.count, max_bad)]
        _check_share(plan.folder, sum(map(_seen, shards)), [bad for shard in shards for bad in _bad(shard)], max_bad)
        return _checked(plan.folder, finish(plan, source.teachers | described), teachers)


def united_tasks(images: str | os.PathLike, source: Source, teachers: Sequence[Teacher]) -> tuple[Task, ...]:
    """Returns the tasks of the records: those of the source and of the teachers; of one name, they must be one.

    Raises:
      UserError: neither a teacher nor a label; a teacher whose classes or convention are not those of the labels that
        are there.
    """
    if not (teachers or source.tasks):
        raise UserError(f"--teachers: not given; {images} has no labels, and no teacher to make any: TASK=FORMAT:PATH")
    tasks = [teacher.task for teacher in teachers]
    check_same_labels(images, source.tasks, tasks)
    return tuple({task.name: task for task in (*source.tasks, *tasks)}.values())


def _run(
    jobs: Sequence[Job], runner: Runner | None, done: Sequence[Shard], total: int, max_bad: float
) -> Iterator[Shard]:
    """Yields shards as they end; stops early where too much is bad."""
    seen, bad = sum(map(_seen, done)), [entry for shard in done for entry in _bad(shard)]
    progress = Progress("label", total, done=seen)
    for shard in runner(jobs) if runner else (run_job(job, progress) for job in jobs):
        if runner:
            progress.update(_seen(shard))
        seen += _seen(shard)
        bad += _bad(shard)
        if seen >= _EARLY:
            _check_share(jobs[0].plan.folder, seen, bad, max_bad)
        yield shard


def _seen(shard: Shard) -> int:
    return shard.count + len(shard.quarantined)


def _bad(shard: Shard) -> list[dict[str, str]]:
    """Returns what was quarantined but for duplicates, which are not bad."""
    return [entry for entry in shard.quarantined if not entry["reason"].startswith(DUPLICATE)]


def _check_share(folder: Path, seen: int, bad: Sequence[dict[str, str]], max_bad: float) -> None:
    """Raises a `UserError` where more of the images seen than the allowed share are bad."""
    if not bad or len(bad) <= max_bad * seen:
        return
    first = f"the first: {bad[0]['name']}: {bad[0]['reason']}"
    if len(bad) == seen:
        raise UserError(f"{folder}: not one image of {seen} could be labelled; {first}")
    raise UserError(
        f"{folder}: {len(bad)} of {seen} images quarantined, more than --max_bad={max_bad:g} allows; {first}; "
        "mend or remove them and give another --out, or take this up with a higher --max_bad"
    )


def _checked(folder: Path, manifest: Manifest, teachers: Sequence[Teacher]) -> Manifest:
    """Returns the manifest of a finished dataset, unless a teacher came to nothing."""
    counts = manifest.counts
    for teacher in teachers:
        if not sum(counts[teacher.task.name].values()):
            raise UserError(f"{folder}: teacher {teacher.id} gave no label of task {teacher.task.name!r} at all")
    return manifest
