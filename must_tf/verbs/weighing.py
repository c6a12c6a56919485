"""`must weigh` as a function: weights of tasks, by how much the gradient of each helps a task of the user."""

import dataclasses
import hashlib
import heapq
import os
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from must_tf.copies import fetched
from must_tf.errors import UserError, nearest
from must_tf.evaluation.weighing import LEVEL, Help, check_learned, helps
from must_tf.geometry import Size
from must_tf.parsing import as_items
from must_tf.pipeline import evaluation_batches, training_batches
from must_tf.pipeline.mixing import Mixing
from must_tf.ranges import check_range
from must_tf.records import Dataset, open_dataset
from must_tf.records.manifest import FILE
from must_tf.report.text import text_table
from must_tf.runtime.progress import Progress
from must_tf.saving import CONFIG, WEIGHTS, load_student
from must_tf.storage import Location, location, sha256, without_nan, write_json
from must_tf.tasks import Task
from must_tf.training import Experiment
from must_tf.training.alignment import TargetGradients, align
from must_tf.training.assembly import seed_process
from must_tf.training.balance import task_weights
from must_tf.training.checks import check_labels
from must_tf.training.config import read_config
from must_tf.training.step import Batch

WEIGHED = "weights.json"  # in a workdir
_MOST = 1024  # images of the target that are read
_GROUPS, _FEWEST = 8, 4  # of them: groups at least, and images in each at least


@dataclasses.dataclass(frozen=True, repr=False)
class Weighed:
    """How much each task helps the target, and the weights; it prints itself as the command prints it.

    Attributes:
      task: the target's task.
      images: how many of the target's images were measured.
      helps: by task of the student.
      head_losses: of the target's heads on images that they have not seen: with the labels of other images, and with
        their own.
      path: JSON file with these values.
    """

    task: Task
    images: int
    helps: Mapping[str, Help]
    head_losses: tuple[float, float]
    path: Location

    @property
    def weights(self) -> dict[str, float]:
        """The weights by task, as `Balance(weights=...)` takes them."""
        return {name: one.weight for name, one in self.helps.items()}

    @property
    def flags(self) -> str:
        """The weights as flags of `must train`."""
        return " ".join(f"--config.balance.weights.{name}={weight:g}" for name, weight in self.weights.items())

    def __repr__(self) -> str:
        others, own = self.head_losses
        lines = [f"target: {self.task.name} ({self.task.kind}), {self.images} images"]
        lines.append(f"its heads: loss {own:.3g} on images that they have not seen, {others:.3g} with labels of others")
        header = ["task", "cosine", f"{LEVEL:.0%} interval", "energy", "share", "weight", "new share", "new weight"]
        lines += text_table(header, [[name, *_cells(one)] for name, one in self.helps.items()])
        lines += [
            f"{name}: not shown to help; with a weight of 0 its head learns nothing: leave it out of the tasks"
            for name, one in self.helps.items()
            if not one.weight
        ]
        return "\n".join([*lines, self.flags])


def weigh(
    workdir: str | os.PathLike,
    target: str | os.PathLike,
    records: str | os.PathLike | Sequence[str | os.PathLike] = (),
    *,
    task: str = "",
    batches: int = 32,
    batch_size: int | None = None,
    head_steps: int = 100,
    seed: int = 0,
    out: str | os.PathLike = "",
) -> Weighed:
    """Weighs the tasks of a student by how much their gradients help a task of your own.

        weights = must_tf.weigh("runs/short", "data/mine").weights
        must_tf.train(dataclasses.replace(experiment, balance=Balance(weights=weights)), "runs/weighed")

    Args:
      workdir: of a finished run, which may be a short one. Its tasks are weighed at its weights; they stay.
      target: folder of records with a few hundred labeled images of your own task, 32 at least. Of more than 1,024 a
        part is measured, chosen by content.
      records: folder of records with labels of the student's tasks, or several; by default what the run was trained on.
      task: name of the target's task in its records, where these have several.
      batches: batches of the student's tasks that are measured, with the augmentation of the run.
      batch_size: images of each; by default that of the run.
      head_steps: steps that the target's heads are trained for on the frozen trunk.
      seed: of heads, order and augmentation. The same call gives the same figures, as far as a run does.
      out: JSON file to write; by default WORKDIR/weights.json.

    Raises:
      UserError: no finished run; no such task, too few labels of it, or one that this student cannot take; the target's
        records are those that the student is trained on; the target's heads learn nothing; or no task is shown to help.
    """
    for flag, number, interval in (("--batches", batches, "[2, inf)"), ("--head_steps", head_steps, "[1, inf)")):
        check_range(flag, number, interval)
    path = location(out) if out else location(workdir) / WEIGHED
    experiment = _experiment(workdir, records, batch_size, seed)
    datasets, wanted = [open_dataset(folder) for folder in experiment.train], open_dataset(target)
    own = _task_of(wanted, task)
    _check_apart(wanted, datasets)
    check_labels(experiment.tasks, datasets, None, "")
    seed_process(experiment)
    student = load_student(workdir)
    groups = _groups(wanted, own, experiment.input_size, experiment.batch_size)
    gradients = TargetGradients(student, own, groups, head_steps)
    check_learned(gradients.losses, own.name)
    alignments = align(student, _batches(experiment, datasets), gradients, batches)
    weights = task_weights(experiment.balance, student.tasks, experiment.batch_size, experiment.optimizer.learning_rate)
    found = helps(alignments, weights)
    images = sum(len(group[0]) for group in groups)
    if not any(one.weight for one in found.values()):
        best = max(found, key=lambda name: found[name].low)
        raise UserError(
            f"--target={target}: no task is shown to help {own.name!r}; {best} comes closest, with a cosine of "
            f"{found[best].cosine:+.3f} and an interval from {found[best].low:+.3f}; give more --batches ({batches}), "
            f"more labeled images ({images}), or keep the weights that you have"
        )
    others, mine = map(float, gradients.losses.mean(0))
    result = Weighed(own, images, found, (others, mine), path)
    told = {
        "workdir": str(workdir),
        "sha256": sha256(fetched(workdir) / WEIGHTS),
        "records": list(experiment.train),
        "target": str(target),
        "task": own.name,
        "images": images,
        "batches": batches,
        "batch_size": experiment.batch_size,
        "head_steps": head_steps,
        "seed": seed,
        "head_losses": result.head_losses,
        "tasks": {name: dataclasses.asdict(one) for name, one in found.items()},
        "weights": result.weights,
    }
    write_json(path, without_nan(told))
    return result


def _experiment(
    workdir: str | os.PathLike,
    records: str | os.PathLike | Sequence[str | os.PathLike],
    batch_size: int | None,
    seed: int,
) -> Experiment:
    """Returns the experiment of a run, with the records, batch size and seed that are asked for."""
    config = fetched(workdir) / CONFIG
    if not config.exists():
        raise UserError(f"--workdir={workdir}: holds no run; expected the folder of a finished `must train`")
    experiment = dataclasses.replace(read_config(config), seed=seed)
    if records:
        folders = tuple(map(str, as_items(records)))
        experiment = dataclasses.replace(experiment, train=folders, mixing=Mixing())
    elif gone := [folder for folder in experiment.train if not (location(folder) / FILE).is_file()]:
        raise UserError(
            f"--workdir={workdir}: its config trains on {gone[0]}, and no records are there; give the command where "
            "the run was trained, or --records=DIR"
        )
    if batch_size is not None:
        experiment = dataclasses.replace(experiment, batch_size=batch_size)
    return experiment


def _task_of(dataset: Dataset, name: str) -> Task:
    """Returns the task of the target, which its records must have labels of."""
    counts = dataset.manifest.counts
    labeled = {task.name: task for task in dataset.manifest.tasks if sum(counts.get(task.name, {}).values())}
    if not labeled:
        raise UserError(f"--target={dataset.folder}: has no label; give records with labels of your own task")
    if name and name not in labeled:
        raise UserError(f"--task={name}: {dataset.folder} has no label of it; {nearest(name, labeled)}")
    if not name and len(labeled) > 1:
        raise UserError(
            f"--target={dataset.folder}: has labels of several tasks; give one of them, as --task={min(labeled)}: "
            f"{', '.join(sorted(labeled))}"
        )
    return labeled[name] if name else next(iter(labeled.values()))


def _check_apart(target: Dataset, datasets: Sequence[Dataset]) -> None:
    """Raises a `UserError` where the target's records are some that the student is trained on."""
    shards = {shard.sha256 for shard in target.manifest.shards}
    for dataset in datasets:
        if shards & {shard.sha256 for shard in dataset.manifest.shards}:
            raise UserError(
                f"--target={target.folder}: has the records of {dataset.folder}, whose gradients are measured against "
                "it; give labeled images of your own that the student is not trained on"
            )


def _groups(dataset: Dataset, task: Task, size: Size, most: int) -> list[Batch]:
    """Returns the labeled images in groups of one size, in an order that their content decides.

    Args:
      dataset: with labels of the task.
      task: whose targets are read.
      size: height and width of the views.
      most: images in a group at most.
    """
    progress = Progress("target", dataset.manifest.count)

    def keyed() -> Iterator[tuple[bytes, Batch]]:
        for images, targets in progress.waiting(evaluation_batches(dataset, [task], size, 1)):
            progress.update()
            if task.has_label(targets[task.name])[0]:
                yield hashlib.sha256(images.numpy().tobytes()).digest(), (images, targets)

    kept = [example for _, example in heapq.nsmallest(_MOST, keyed(), key=lambda pair: pair[0])]
    each = min(most, len(kept) // _GROUPS)
    if each < _FEWEST:
        raise UserError(
            f"--target={dataset.folder}: {len(kept)} labeled images of {task.name!r} for batches of {most}; expected "
            f"{_GROUPS * _FEWEST} or more, better a few hundred, and --batch_size of {_FEWEST} or more"
        )
    parts = [kept[start : start + each] for start in range(0, len(kept) - each + 1, each)]
    return [tf.nest.map_structure(lambda *values: tf.concat(values, 0), *part) for part in parts]


def _batches(experiment: Experiment, datasets: Sequence[Dataset]) -> tf.data.Dataset:
    """Returns batches without end, as the experiment trains on them."""
    return training_batches(
        datasets,
        experiment.tasks,
        [experiment.input_size],
        experiment.batch_size,
        experiment.seed,
        experiment.augment,
        mixing=experiment.mixing,
    )


def _cells(one: Help) -> list[str]:
    """Returns a row of the table."""
    return [
        f"{one.cosine:+.3f}",
        f"{one.low:+.3f} to {one.high:+.3f}",
        f"{one.energy:.1%}",
        f"{one.share_before:.0%}",
        f"{one.weight_before:g}",
        f"{one.share:.0%}",
        f"{one.weight:g}",
    ]
