"""Labels all images of a source with teachers, shard by shard; a run that was stopped resumes."""

import collections
import contextlib
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError
from must_tf.labeling.fitting import fit_teachers
from must_tf.labeling.plausibility import look, look_back
from must_tf.labeling.runners import Runner
from must_tf.labeling.shard import Job, run_job
from must_tf.records import (
    HUMAN,
    Dataset,
    Manifest,
    Plan,
    Shard,
    check_folder,
    check_same_labels,
    finish,
    forget,
    pending,
    read_manifest,
    written,
)
from must_tf.records.manifest import FILE
from must_tf.records.notes import BLOCK, gather
from must_tf.records.notes import look as look_at
from must_tf.records.writer import PLAN, read_plan
from must_tf.runtime.progress import Progress
from must_tf.sources import MAX_PIXELS, Source, may_have_labels, open_source, renamed
from must_tf.sources.joining import shared_images
from must_tf.sources.source import DUPLICATE, EARLIER
from must_tf.tasks import Task, threshold_words
from must_tf.teachers import Teacher

_CHECK_AFTER = 1000  # images after which the share of bad images is meaningful
_SHORT = 64  # batches of a run that is not worth another one before it, to look at
_GROWN = {"count", "listing", "num_shards"}  # arguments that change when images are added to a folder
_HARDLY_ANY = 0.02  # share of images in which a teacher finds something that is as good as none


def label(
    images: str | os.PathLike,
    teachers: Sequence[Teacher] | Callable[[], Sequence[Teacher]],
    out: str | os.PathLike,
    batch_size: int = 32,
    images_per_shard: int = 1000,
    *,
    runner: Runner | None = None,
    max_bad: float = 0.05,
    max_pixels: int = MAX_PIXELS,
    license: str = "",
    allow_empty: bool = False,
    filenames: bool = True,
    root: str | os.PathLike | None = None,
    tasks: Mapping[str, str] | None = None,
    merge: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Manifest:
    """Runs teachers over images and writes records with their labels; a second call resumes where the first stopped.

    Args:
      images: what `open_source` takes: a folder (searched recursively), a glob, a list file, a folder of records (whose
        human labels are kept), `tfrecord:GLOB`, `tfds:NAME/SPLIT`, `voc:FOLDER/Main/trainval`, other labeled datasets;
        a slice of one, such as `photos[:90%]`; several of these, separated by commas.
      teachers: one teacher per task; or a function that loads them, which is called after images and folder have been
        checked. Without teachers, the human labels of the images become records.
      out: folder for the dataset.
      batch_size: images per call of a teacher.
      images_per_shard: largest number of images in a shard; 1000 photographs take some 128 MB.
      runner: where shards are labeled, see `labeling.runners`; by default in this process.
      max_bad: largest share of images that may be quarantined.
      max_pixels: an image with more pixels is quarantined before it is decoded.
      license: license of the images, for the manifest; by default that of the records, if these are the images.
      allow_empty: whether a teacher may give no label, or find nothing in hardly any image.
      filenames: whether records keep the name of the file that an image came from, relative to the folder of images.
      root: where the images that labels name are looked for, see `open_source`.
      tasks: {new name: name of a task of the images' labels, or empty for the only one}, such as that of a teacher;
        with `merge`, of the corrected labels.
      merge: corrected labels, such as `coco:corrected.json`: they become human, and win over those of the images.
      without: folders of our records, whose images are left out.

    Raises:
      UserError: there are no images or no teachers; `out` is a file, has the output of another run, or is in use by
        another run; no image or too few images could be read; a teacher gave no label at all, or hardly any.

    Some kinds fit what a teacher's card lacks, such as principal components, on a sample of the images. That is done
    first, and the result is a file in `out`.

    A long run labels a few images first, and prints what can hardly be meant in their labels; a short one looks at its
    first records. Both write it into the manifest.
    """
    known: dict[str, Any] = {"images": str(images), "max_pixels": max_pixels, "batch_size": batch_size}
    optional = {"root": str(root or ""), "tasks_of": dict(tasks or {}), "merge": list(merge), "except": list(without)}
    known |= {} if filenames else {"filenames": False}
    known |= {name: value for name, value in optional.items() if value}
    check_out(out, known | ({"license": license} if license else {}))
    require_labels(images, bool(teachers or merge))
    source = open_source(
        str(images), images_per_shard, max_pixels, root=root, tasks=tasks, merge=merge, without=without
    )
    teachers, folder = teachers() if callable(teachers) else teachers, storage.location(out)
    with storage.locked(folder):
        teachers = fit_teachers(teachers, source, folder, batch_size)
        source = renamed(source, str(images), {}, [teacher.task for teacher in teachers])
        described = {teacher.id: teacher.describe() for teacher in teachers}
        made_from = known | {"count": source.count, "listing": source.listing, "teachers": described}
        made_from |= {"license": license or source.license} if license or source.license else {}
        all_tasks = united_tasks(images, source, teachers)
        plan = Plan(folder, "labeled", "train", all_tasks, len(source.shards), made_from)
        _check_grown(plan)
        check_folder(plan.folder, plan.describe())
        is_long = source.count > _SHORT * batch_size
        found = look_at(plan)
        is_finished = found.has_all and FILE in found.others
        # Before a plan binds the folder to the teachers.
        doubts = look(source, teachers, batch_size) if is_long and not is_finished else []
        for line in (*source.warnings, *doubts) if is_long else ():
            print(f"warning: {line}", flush=True)
        todo = pending(plan, found)
        if is_finished:
            return _checked(plan.folder, read_manifest(out), teachers, allow_empty)
        done = written(plan, None if FILE in found.others else found)  # notes may have come back
        tally = _Tally(plan.folder, max_bad, done if len(todo) < plan.num_shards else ())
        _run(_Jobs(plan, todo, source, tuple(teachers), batch_size, filenames), runner, tally, source.count)
        tally.check()
        _require_any(plan, tally)

        def review(dataset: Dataset) -> list[str]:
            shared = shared_images(dataset, source.parts)
            return [*source.warnings, *shared, *(doubts if is_long else look_back(dataset, teachers))]

        manifest = finish(plan, source.teachers | described, review)
        return _checked(plan.folder, manifest, teachers, allow_empty)


def _check_grown(plan: Plan) -> None:
    """Raises a `UserError` if a dataset is finished and there are other images now: it says how to label these."""
    if not (plan.folder / FILE).exists() or not (plan.folder / PLAN).exists():
        return
    before, now = read_plan(plan.folder), plan.describe()
    different = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    if different <= _GROWN and "merge" not in now and now["count"] > before.get("count", 0):
        known = ",".join([*plan.source.get("except", []), str(plan.folder)])
        words = [f"--images={plan.source['images']}", f"--except={known}", f"--out={plan.folder}-2"]
        raise UserError(
            f"{plan.folder}: was made when there were {before.get('count')} images, now there are {now['count']}; the "
            f"same command with --except={known} and another --out labels the new ones: must label "
            f"{shlex.join(words)} ..."
        )


def _require_any(plan: Plan, tally: "_Tally") -> None:
    """Raises a `UserError` if no image is left; a corrected command may then use the folder."""
    if tally.reasons and not tally.kept:
        forget(plan)
        reasons = " or ".join(sorted(tally.reasons))
        raise UserError(f"{plan.source['images']}: no image is left; all of them are {reasons}")


def check_out(out: str | os.PathLike, arguments: Mapping[str, Any]) -> None:
    """Raises a `UserError` if a folder cannot take the output of these arguments, as far as this is known early."""
    folder = storage.location(out)
    for path in (folder, *(folder.parents if isinstance(folder, Path) else ())):
        if path.exists() and not path.is_dir():
            raise UserError(f"{folder}: {path.name} is a file; expected a new folder, or one of the same command")
    if (folder / storage.LOCK).exists():
        with storage.locked(folder):
            pass
    check_folder(folder, arguments, some=True)


def require_labels(images: str | os.PathLike, teachers: bool) -> None:
    """Raises a `UserError` if there are no teachers and images of this name have no labels."""
    if not (teachers or may_have_labels(images)):
        raise _no_label(images)


def united_tasks(images: str | os.PathLike, source: Source, teachers: Sequence[Teacher]) -> tuple[Task, ...]:
    """Returns the tasks of the records: those of the source and of the teachers. Tasks of one name must be the same.

    Raises:
      UserError: there is neither a teacher nor a label; or a teacher's task has another identity (classes, convention,
        ...) than the labels of the source with its name.
    """
    if not (teachers or source.tasks):
        raise _no_label(images, source.warnings)
    tasks = [teacher.task for teacher in teachers]
    check_same_labels(images, source.tasks, tasks)
    return tuple({task.name: task for task in (*source.tasks, *tasks)}.values())


def _no_label(images: str | os.PathLike, warnings: Sequence[str] = ()) -> UserError:
    """Returns the error for images without labels; what the source says may be why it has none."""
    missing = f"--teachers: not given; {images} has no labels, so a teacher must make them: TASK=FORMAT:PATH"
    return UserError("; ".join((missing, *warnings)))


class _Jobs(Sequence[Job]):
    """The shards to label, each made when it is asked for."""

    def __init__(
        self,
        plan: Plan,
        todo: Sequence[int],
        source: Source,
        teachers: tuple[Teacher, ...],
        batch_size: int,
        filenames: bool,
    ):
        self.plan, self.todo, self.source = plan, todo, source
        self.teachers, self.batch_size, self.filenames = teachers, batch_size, filenames

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        index, before = self.todo[place], self.source.quarantined
        read, bad = self.source.shards[index], before[index] if before else ()
        return Job(self.plan, index, read, self.teachers, self.batch_size, bad, self.filenames)


class _Tally:
    """Counts what became of images, and raises a `UserError` where too many of them are bad.

    Args:
      folder: for the message.
      max_bad: largest share.
      done: shards that an earlier run has written.
    """

    def __init__(self, folder: storage.Location, max_bad: float, done: Iterable[Shard]):
        self.folder, self.max_bad = folder, max_bad
        self.seen = self.left_out = self.kept = self.bad = 0
        self.first: dict[str, str] | None = None  # of the bad images
        self.reasons = set[str]()
        for shard in done:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        """Counts the images of a shard."""
        bad = _bad(shard)
        self.seen += _seen(shard)
        self.left_out += sum(shard.left_out.values())
        self.kept += shard.count + len(shard.quarantined)
        self.bad += len(bad)
        self.first = self.first or (bad[0] if bad else None)
        self.reasons |= shard.left_out.keys()

    def check(self) -> None:
        """Raises a `UserError` if more than the allowed share of the images seen are bad."""
        if not self.first or self.bad <= self.max_bad * self.seen:
            return
        first = f"the first: {self.first['name']}: {self.first['reason']}"
        if self.bad == self.seen:
            raise UserError(f"{self.folder}: none of {self.seen} images could be labeled; {first}")
        raise UserError(
            f"{self.folder}: {self.bad} of {self.seen} images quarantined, more than --max_bad={self.max_bad:g} "
            f"allows; {first}; repair or remove them and give another --out, or resume with a higher --max_bad"
        )


def _run(jobs: _Jobs, runner: Runner | None, tally: _Tally, total: int) -> None:
    """Labels the shards; raises early if too many images are bad."""
    plan = jobs.plan
    left = collections.Counter(index // BLOCK for index in jobs.todo)
    progress = Progress("label", total, done=tally.seen + tally.left_out)
    shards = runner(jobs, progress.say) if runner else (run_job(job, progress) for job in jobs)
    with contextlib.closing(shards):
        for shard in shards:
            if runner:
                progress.update(_seen(shard) + sum(shard.left_out.values()))
            tally.add(shard)
            if tally.seen >= _CHECK_AFTER:
                tally.check()
            index = plan.index(shard.name)
            assert index is not None  # it is one of these jobs
            block, last = index // BLOCK, (plan.num_shards - 1) // BLOCK
            left[block] -= 1
            if not left[block] and block < last:  # the last one is finished soon
                gather(plan, index)


def _seen(shard: Shard) -> int:
    return shard.count + len(_left_out(shard))


def _bad(shard: Shard) -> list[dict[str, str]]:
    """Returns the images that this run quarantined, except duplicates, which are not bad."""
    return [entry for entry in _left_out(shard) if not entry["reason"].startswith(DUPLICATE)]


def _left_out(shard: Shard) -> list[dict[str, str]]:
    return [entry for entry in shard.quarantined if not entry["reason"].startswith(EARLIER)]


def _checked(folder: storage.Location, manifest: Manifest, teachers: Sequence[Teacher], allow_empty: bool) -> Manifest:
    """Returns the manifest of a finished dataset; raises a `UserError` if a teacher found hardly anything."""
    for teacher in teachers:
        name = teacher.task.name
        counts, empty = manifest.counts[name], manifest.empty[name]
        asked, given = manifest.count - counts.get(HUMAN, 0), counts.get(teacher.id, 0)
        found = given - empty.get(teacher.id, 0)
        if asked and found <= _HARDLY_ANY * asked and not allow_empty:
            result = f"found nothing for task {name!r}" if given else f"gave no label of task {name!r} at all"
            if found:
                result = f"found something for task {name!r} in no more than {found}"
            raise UserError(
                f"{folder}: teacher {teacher.id} {result} {'of' if found else 'in'} {asked} image{'s' * (asked > 1)}; "
                f"look at --preview, {_remedy(teacher.task)}; if this is intended, give --allow_empty"
            )
    return manifest


def _remedy(task: Task) -> str:
    if task.thresholds:
        name = task.thresholds[0]
        now = threshold_words(getattr(task, name))
        return f"and give a lower --thresholds={task.name}.{name} (now {now}) and another --out"
    return "correct the teacher or its card, and give another --out"
