"""Parses the flags of teachers: --teachers, --cards, --cards.TASK.FIELD, --thresholds and --allow_ops."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from must_tf.errors import UserError, nearest
from must_tf.parsing import load_yaml, parse, read_object
from must_tf.teachers.spec import STUDENT, TeacherSpec, with_sources

BEST = "best"  # a threshold: the one with the best score in the teacher's evaluation
EVALUATION = "evaluation.json"  # of a workdir, by `must evaluate`


def define_allow_ops(flag_values: flags.FlagValues) -> flags.FlagHolder:
    """Defines --allow_ops."""
    return flags.DEFINE_list(
        "allow_ops",
        [],
        "Operations that SavedModels and .pt2 files may use although they do more than compute, separated by commas. "
        "Both are programs, and may read and write files: by default one that uses such operations is refused.",
        flag_values=flag_values,
    )


def parse_teachers(
    texts: Iterable[str],
    cards: Mapping[str, str] | None = None,
    thresholds: Mapping[str, Mapping[str, float | str]] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    allow_ops: Sequence[str] = (),
) -> list[TeacherSpec]:
    """Parses `TASK=FORMAT:PATH` into teachers, one per task.

    Args:
      texts: one per teacher.
      cards: {task: file}, see `parse_cards`.
      thresholds: {task: {threshold: value}}, see `parse_thresholds`.
      fields: {task: {field of its card: value}}, see `parse_fields`.
      allow_ops: for all teachers, see `TeacherSpec`.

    Raises:
      UserError: a text of another form; two teachers for a task; a card or thresholds for a task without one; what
        `TeacherSpec.of` refuses.
    """
    cards, thresholds, fields = cards or {}, thresholds or {}, fields or {}
    places: dict[str, str] = {}
    for text in texts:
        task, equals, where = text.partition("=")
        if not (task and equals):
            raise UserError(f"--teachers: {text!r} received, expected TASK=FORMAT:PATH")
        if task in places:
            raise UserError(f"--teachers: two teachers for task {task!r}; one per task can label")
        places[task] = where
    for flag, tasks in (("cards", {**cards, **fields}), ("thresholds", thresholds)):
        for task in tasks:
            if task not in places:
                hint = nearest(task, places) if places else "there is none at all"
                raise UserError(f"--{flag}: no teacher for task {task!r}; {hint}")
    specs = [
        TeacherSpec.of(
            task,
            where,
            card=cards.get(task),
            thresholds=_calibrated(task, where, thresholds.get(task, {})),
            fields=fields.get(task, {}),
            allow_ops=tuple(allow_ops),
        )
        for task, where in places.items()
    ]
    return with_sources(specs)


def parse_cards(texts: Iterable[str]) -> dict[str, str]:
    """Parses `TASK=FILE` into {task: file of its teacher's card}."""
    cards: dict[str, str] = {}
    for text in texts:
        task, _, file = text.partition("=")
        if not (task and file) or task in cards:
            raise UserError(f"--cards: {text!r} received, expected TASK=FILE, each task once")
        cards[task] = file
    return cards


def parse_fields(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Parses {`TASK.FIELD`: value in YAML} into {task: {field of its teacher's card: value}}."""
    fields: dict[str, dict[str, Any]] = {}
    for place, text in texts.items():
        task, _, field = place.rpartition(".")
        if not (task and field):
            raise UserError(f"--cards.{place}: expected --cards.TASK.FIELD=VALUE")
        try:
            fields.setdefault(task, {})[field] = load_yaml(text, f"--cards.{place}")
        except UserError:
            raise UserError(f"--cards.{place}: {text[:100]!r} received, expected YAML, as [0, 1]") from None
    return fields


def parse_thresholds(texts: Iterable[str]) -> dict[str, dict[str, float | str]]:
    """Parses `TASK.THRESHOLD=VALUE` into {task: {threshold: value}}; a value is a number from 0 to 1, or `best`."""
    thresholds: dict[str, dict[str, float | str]] = {}
    for text in texts:
        place, _, value = text.partition("=")
        task, _, name = place.rpartition(".")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (task and name and (value == BEST or 0 <= number <= 1)) or name in thresholds.get(task, {}):
            raise UserError(
                f"--thresholds: {text!r} received, expected TASK.min_score=VALUE, from 0 to 1 or {BEST}, each once"
            )
        thresholds.setdefault(task, {})[name] = BEST if value == BEST else number
    return thresholds


def _calibrated(task: str, where: str, thresholds: Mapping[str, float | str]) -> dict[str, float]:
    """Returns a teacher's thresholds with `best` replaced by what `must evaluate` found, and prints that."""
    found: dict[str, float] = {}
    for name, value in thresholds.items():
        if value == BEST:
            value, data = _evaluated(task, where, name)
            print(f"{task}: {name} {value:g}, the best on {data}")
        found[name] = float(value)
    return found


def _evaluated(task: str, where: str, name: str) -> tuple[float, str]:
    """Returns the score `best_NAME` of a student's evaluation, and the data that it was evaluated on."""
    from must_tf.saving import WEIGHTS
    from must_tf.storage import sha256

    flag, workdir = f"--thresholds: {task}.{name}={BEST}", where.removeprefix(f"{STUDENT}:")
    if workdir == where:
        raise UserError(f"{flag} needs a student as teacher, received {where}; give a number")
    path = Path(workdir, EVALUATION)
    if not path.is_file():
        raise UserError(f"{flag} needs {path}; run `must evaluate --workdir={workdir} --data=FOLDER` first")
    value = read_object(path)
    if value.get("sha256") != sha256(Path(workdir, WEIGHTS)):
        raise UserError(f"{path}: not of the weights that are in {workdir}; run `must evaluate` again")
    by_task = parse(dict[str, dict[str, float | None]], value.get("scores"), path, "scores")
    scores = by_task.get(task) or (next(iter(by_task.values())) if len(by_task) == 1 else {})
    best = scores.get(f"best_{name}")
    if best is None:
        raise UserError(f"{path}: no score best_{name} of task {task!r}; give a number to --thresholds")
    return best, str(value.get("data"))


def teachers_of(
    texts: Sequence[str],
    cards: Sequence[str],
    thresholds: Sequence[str],
    fields: Mapping[str, str],
    allow_ops: Sequence[str] = (),
) -> Callable[[], Any]:
    """Checks the flags of teachers, and returns the function that loads them.

    Raises:
      UserError: a flag is wrong; nothing has been loaded yet.
    """
    specs = parse_teachers(
        texts, parse_cards(cards), parse_thresholds(thresholds), parse_fields(fields), allow_ops=allow_ops
    )

    def load() -> Any:
        from must_tf.teachers import load_teachers

        return load_teachers(specs)

    return load
