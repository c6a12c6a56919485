"""`must evaluate` as a function: scores the heads of a finished run by the standard metrics of each task."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

from must_tf import inference
from must_tf.copies import fetched
from must_tf.errors import UserError
from must_tf.evaluation.neighbors import neighbor_scores
from must_tf.geometry import Size
from must_tf.parsing import as_items, as_size, parse, read_object
from must_tf.ranges import check_range
from must_tf.records import Dataset, open_dataset
from must_tf.report.words import LOWER, metric_name, score_words
from must_tf.saving import CONFIG, WEIGHTS, load_student, read_architecture, read_input_size
from must_tf.storage import Location, location, sha256, without_nan, write_json
from must_tf.tasks import Score, Task
from must_tf.training.checks import fingerprints, surplus
from must_tf.verbs.teachers import EVALUATION


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """The scores of a student on a dataset; it prints itself as the command prints it.

    Attributes:
      workdir: of the run.
      sha256: of the student's weights.
      data: folder of the records.
      size: height and width to which images were resized.
      scores: {task: {metric: score}}; shares are fractions, other scores have the metric's unit.
      tasks: the tasks by name, which declare unit and direction of their metrics.
      path: JSON file with these values.
      knn: {classification of the records: share of images that their nearest neighbors classify right}.
    """

    workdir: str
    sha256: str
    data: str
    size: Size
    scores: Mapping[str, Mapping[str, float]]
    tasks: Mapping[str, Task]
    path: Location
    knn: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        lines = []
        for name, values in self.scores.items():
            declared = {score.name: score for score in self.tasks[name].scores}
            said = [
                f"{metric_name(declared[key])} {score_words(value, declared[key])}" for key, value in values.items()
            ]
            lines.append(f"{name}: {'  '.join(said)}")
        lines += [f"{name}: k-NN top1 {score_words(value, Score('top1'))}" for name, value in self.knn.items()]
        legend = [f"{LOWER}: lower is better"] if any(LOWER in line for line in lines) else []
        return "\n".join([*lines, *legend])


def evaluate(
    workdir: str | os.PathLike,
    data: str | os.PathLike = "",
    size: int | Sequence[int] | None = None,
    tasks: str | Sequence[str] | None = None,
    batch_size: int = 32,
    out: str | os.PathLike = "",
    knn: str | os.PathLike = "",
) -> Evaluation:
    """Scores a finished run on a dataset, and writes the scores as JSON.

    Args:
      workdir: of the run.
      data: folder of records; by default the `test` of the run's config, else its `validation`.
      size: height and width to which images are resized, or one number for both; by default those of the config.
      tasks: names; by default all tasks that both the student and the records have.
      batch_size: images per batch.
      out: JSON file to write; by default WORKDIR/evaluation.json.
      knn: folder of records with classes, whose images are the neighbors; then images of `data` are also classified by
        the features of the backbone, which needs no head of these classes.

    Raises:
      UserError: no finished run, no data, no such task, or labels of other classes.
    """
    check_range("--batch_size", batch_size, "[1, inf)")
    path = location(out) if out else location(workdir) / EVALUATION
    student, run = load_student(workdir), fetched(workdir)
    config = read_object(run / CONFIG)
    data = str(data) or config.get("test") or config.get("validation") or ""
    if not data:
        raise UserError("--data: not given, and the config has no `test` or `validation`; expected a folder of records")
    sides = as_size(size or read_input_size(workdir), "--size")
    dataset, names = open_dataset(data), list(as_items(tasks)) if tasks else None
    near = neighbor_scores(student, open_dataset(knn), dataset, sides, batch_size) if str(knn) else {}
    has_scores = names or not near or any(dataset.manifest.counts.get(name) for name in student.tasks)
    scores = inference.evaluate(student, dataset, sides, names, batch_size) if has_scores else {}
    for line in surplus([student.tasks[name] for name in scores], [dataset]):
        print(line)
    digest = sha256(run / WEIGHTS)
    told = {"workdir": str(workdir), "sha256": digest, "data": data, "size": list(sides), "scores": scores}
    told |= {"records": _digest(dataset)}
    write_json(path, without_nan(told | ({"knn": near, "neighbors": str(knn)} if near else {})))
    return Evaluation(str(workdir), digest, data, sides, scores, student.tasks, path, near)


def stored(workdir: str | os.PathLike, data: str, path: Location) -> Evaluation | None:
    """Returns what `evaluate` wrote to a file, if it is whole and of this student, these records and this size."""
    if not path.exists():
        return None
    try:
        told = read_object(path)
        values = parse(dict[str, dict[str, float | None]], told.get("scores"), path, "scores")
    except UserError:  # it is damaged: to evaluate again is to mend it
        return None
    tasks, dataset, sides = read_architecture(workdir).tasks, open_dataset(data), read_input_size(workdir)
    digest = sha256(fetched(workdir) / WEIGHTS)
    expected = {"sha256": digest, "data": data, "size": list(sides), "records": _digest(dataset)}
    scored = {
        task.name: task.main_score.name for task in tasks if sum(dataset.manifest.counts.get(task.name, {}).values())
    }
    is_whole = values.keys() == scored.keys() and all(score in values[name] for name, score in scored.items())
    if not is_whole or {**told, **expected} != told:
        return None
    scores = {
        name: {key: math.nan if value is None else value for key, value in of.items()} for name, of in values.items()
    }
    return Evaluation(str(workdir), digest, data, sides, scores, {task.name: task for task in tasks}, path)


def _digest(dataset: Dataset) -> str:
    """Returns a SHA-256 that tells whether the records are still the same."""
    return next(iter(fingerprints([dataset]).values()))
