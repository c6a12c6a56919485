"""What flags say of teachers, checked without TensorFlow: a slip is told at once, before anything is loaded."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, nearest

STUDENT = "student"
PRESETS = ("kerashub", "kerascv")  # folders, or names that their libraries download
MODELS = ("keras", "savedmodel", "onnx", "litert", *PRESETS)
_FOLDERS = (STUDENT, "savedmodel")


def parse_teachers(
    texts: Iterable[str],
    cards: Mapping[str, str] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, str]:
    """Returns {task: FORMAT:PATH} of `TASK=FORMAT:PATH`, one a task.

    Args:
      texts: of the teachers.
      cards: file by task, as `parse_cards` gives them.
      thresholds: by task, as `parse_thresholds` gives them.
      fields: of cards, by task, as `parse_fields` gives them.

    Raises:
      UserError: a text of another form; two teachers for a task; a card or thresholds for a task without one; what
        `check_teacher` refuses.
    """
    teachers: dict[str, str] = {}
    for text in texts:
        task, equals, where = text.partition("=")
        if not (task and equals):
            raise UserError(f"--teachers: {text!r} received, expected TASK=FORMAT:PATH")
        if task in teachers:
            raise UserError(f"--teachers: two teachers for task {task!r}; one a task can label")
        teachers[task] = where
    for flag, tasks in (("cards", {**(cards or {}), **(fields or {})}), ("thresholds", thresholds or {})):
        for task in tasks:
            if task not in teachers:
                hint = nearest(task, teachers) if teachers else "there is none at all"
                raise UserError(f"--{flag}: no teacher for task {task!r}; {hint}")
    for task, where in teachers.items():
        check_teacher(task, where, (cards or {}).get(task), (fields or {}).get(task))
    return teachers


def check_teacher(
    task: str, where: str, card: str | None = None, fields: Mapping[str, Any] | None = None
) -> tuple[str, str]:
    """Returns format and path of a teacher.

    Raises:
      UserError: an unknown format; a model, a workdir or a card that is not there; a card for a student.
    """
    kind, path = _split(f"teacher {where!r} of task {task!r}", where, (STUDENT, *MODELS))
    _require(kind, path, where)
    if (card or fields) and kind == STUDENT:
        raise UserError(
            f"{card or f'--cards.{task}'}: a card for task {task!r}, whose teacher is a student; it needs none"
        )
    if card and not Path(card).exists():
        raise UserError(f"{card}: no such file")
    return kind, path


def parse_model(where: str) -> tuple[str, str]:
    """Returns format and path of the model `FORMAT:PATH` that a card is to be drafted for."""
    if where.startswith(f"{STUDENT}:"):
        raise UserError(f"{where}: a student needs no card; give it to --teachers as it is")
    kind, path = _split(where, where, MODELS)
    _require(kind, path, where)
    return kind, path


def parse_cards(texts: Iterable[str]) -> dict[str, str]:
    """Returns {task: file of its teacher's card} of `TASK=FILE`."""
    cards: dict[str, str] = {}
    for text in texts:
        task, _, file = text.partition("=")
        if not (task and file) or task in cards:
            raise UserError(f"--cards: {text!r} received, expected TASK=FILE, a task once")
        cards[task] = file
    return cards


def parse_fields(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Returns {task: {field of its teacher's card: value}} of {`TASK.FIELD`: value in YAML}."""
    import yaml

    fields: dict[str, dict[str, Any]] = {}
    for place, text in texts.items():
        task, _, field = place.rpartition(".")
        if not (task and field):
            raise UserError(f"--cards.{place}: expected --cards.TASK.FIELD=VALUE")
        try:
            fields.setdefault(task, {})[field] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--cards.{place}: {text!r} received, expected YAML, as [0, 1]") from None
    return fields


def parse_thresholds(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Returns {task: {threshold: value}} of `TASK.THRESHOLD=VALUE`."""
    thresholds: dict[str, dict[str, float]] = {}
    for text in texts:
        place, _, value = text.partition("=")
        task, _, name = place.rpartition(".")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (task and name and 0 <= number <= 1) or name in thresholds.get(task, {}):
            raise UserError(f"--thresholds: {text!r} received, expected TASK.min_score=VALUE, from 0 to 1, each once")
        thresholds.setdefault(task, {})[name] = number
    return thresholds


def _split(what: str, where: str, known: Iterable[str]) -> tuple[str, str]:
    kind, colon, path = where.partition(":")
    if not colon:
        raise UserError(f"{what}: no format; expected FORMAT:PATH, as {_likely(where)}:{where}")
    if kind not in known:
        raise UserError(f"{what}: expected FORMAT:PATH; {nearest(kind, known)}")
    if not path:
        raise UserError(f"{what}: no path; expected {kind}:PATH")
    return kind, path


def _require(kind: str, path: str, where: str) -> None:
    """Raises a `UserError` unless the model is there; the name of a preset may be anything."""
    if kind in _FOLDERS and not Path(path).is_dir():
        raise UserError(f"{where}: no such folder")
    if kind not in (*_FOLDERS, *PRESETS) and not Path(path).is_file():
        raise UserError(f"{where}: no such file")


def _likely(path: str) -> str:
    """Guesses the format of a model by its name."""
    known = {".onnx": "onnx", ".tflite": "litert", ".keras": "keras", ".h5": "keras"}
    return known.get(Path(path).suffix, "savedmodel" if Path(path, "saved_model.pb").is_file() else STUDENT)


def teachers_of(
    texts: list[str], cards: Sequence[str], thresholds: Sequence[str], fields: Mapping[str, str]
) -> Callable[[], Any]:
    """Returns what loads the teachers of `--teachers`, `--cards`, `--thresholds` and `--cards.TASK.FIELD`.

    Raises:
      UserError: at once, where one of the flags is not as it should be.
    """
    arguments = texts, parse_cards(cards), parse_thresholds(thresholds), parse_fields(fields)
    parse_teachers(*arguments)

    def load():
        from must_tf.teachers import load_teachers

        return load_teachers(*arguments)

    return load
