"""The flags of teachers: --teachers, --cards, --cards.TASK.FIELD, --classes, --thresholds, --tta and --allow_ops."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from must_tf.errors import UserError
from must_tf.parsing import load_yaml
from must_tf.teachers.spec import TeacherSpec, check_augmentation
from must_tf.verbs.teachers import BEST, BEST_ON, classes_of, loader, make_specs, with_classes


class TeacherFlags:
    """Defines the flags that say which teachers there are and how they label.

    Args:
      flag_values: of the command.
      purpose: what the command does with teachers, one or more sentences for the help of --teachers.
    """

    def __init__(self, flag_values: flags.FlagValues, purpose: str) -> None:
        self._teachers = flags.DEFINE_list(
            "teachers",
            [],
            "TASK=FORMAT:PATH, separated by commas, such as boxes=hf:NAME_OR_FOLDER, a Hugging Face model. Several of "
            "one task are an ensemble: probabilities, depths and normals are averaged, boxes fused by weight; its "
            "thresholds are those of the first. "
            f"derive:TASK computes from another teacher's labels, as normals=derive:depth does. {purpose}",
            flag_values=flag_values,
        )
        self._cards = flags.DEFINE_list(
            "cards",
            [],
            "TASK=FILE, separated by commas; by default the card is PATH.card.yaml beside the model. Models of hf: "
            "need none. --cards.TASK.FIELD=VALUE sets one field, in YAML, and overrides the file; such flags can "
            "replace the whole file. TASK.1 is the first teacher of an ensemble.",
            flag_values=flag_values,
        )
        self._classes = flags.DEFINE_multi_string(
            "classes",
            [],
            "TASK={LABEL: [CLASS, ...], ...}, in YAML: the labels that a model's classes become, several of them one "
            "label if so listed, such as 'boxes={car: [car, truck], person: person}'; the others are dropped",
            flag_values=flag_values,
        )
        self._thresholds = flags.DEFINE_list(
            "thresholds",
            [],
            "TASK.min_score=VALUE, separated by commas: lowest score that makes a label; by default that of the card "
            "or of the student. Boxes with scores from TASK.doubtful_score to TASK.min_score are ignored in training. "
            "TASK=best:RECORDS finds, for a task with boxes or other objects and any teacher, the thresholds with the "
            "best F1 of each class on labeled images, which are named as for --images; a class of fewer than 10 "
            "objects takes the threshold of all classes. For boxes of a student, TASK.min_score=best is that of all "
            "classes in WORKDIR/evaluation.json, by `must evaluate`.",
            flag_values=flag_values,
        )
        self._tta = flags.DEFINE_multi_string(
            "tta",
            [],
            "Test-time augmentation, such as flip,scales; of all tasks or, as TASK=..., of one. flip also labels the "
            "mirror image; scales also the image at 0.83 and 0.67 of its size; a number is a scale from 0.5 to 4 (over "
            "1, in overlapping windows); labels are merged as those of an ensemble",
            flag_values=flag_values,
        )
        self._allow_ops = flags.DEFINE_list(
            "allow_ops",
            [],
            "Operations that SavedModels and .pt2 files may use although they do more than compute, separated by "
            "commas. Both are programs, and may read and write files: by default one that uses such operations is "
            "refused.",
            flag_values=flag_values,
        )

    @property
    def allow_ops(self) -> tuple[str, ...]:
        """The value of --allow_ops."""
        return tuple(self._allow_ops.value)

    def loader(self, texts_of_fields: Mapping[str, str]) -> Callable[[], Any] | None:
        """Checks the flags, and returns the function that loads the teachers; None if there are none.

        Args:
          texts_of_fields: {`TASK.FIELD`: value in YAML} of --cards.TASK.FIELD.

        Raises:
          UserError: a flag is wrong; nothing has been loaded yet.
        """
        thresholds, calibrations = parse_thresholds(self._thresholds.value)
        specs = parse_teachers(
            self._teachers.value,
            parse_cards(self._cards.value),
            thresholds,
            with_classes(parse_fields(texts_of_fields), parse_classes(self._classes.value)),
            self.allow_ops,
            parse_tta(self._tta.value),
        )
        load = loader(specs, calibrations)
        return load if specs else None


def parse_teachers(
    texts: Iterable[str],
    cards: Mapping[str, str] | None = None,
    thresholds: Mapping[str, Mapping[str, float | str]] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    allow_ops: Sequence[str] = (),
    augmentation: Mapping[str, Sequence[str]] | None = None,
) -> list[TeacherSpec]:
    """Parses `TASK=FORMAT:PATH` into teachers, one per task; several texts of a task are one ensemble.

    Args:
      texts: one per teacher.
      cards: {task, or `TASK.N` for the Nth teacher of an ensemble: file}, see `parse_cards`.
      thresholds: {task: {threshold: value}}, see `parse_thresholds`.
      fields: {task or `TASK.N`: {field of its card: value}}, see `parse_fields`.
      allow_ops: for all teachers, see `TeacherSpec`.
      augmentation: {task, or empty for all tasks: words}, see `parse_tta`.

    Raises:
      UserError: a text of another form; a card, thresholds or an augmentation for a task without a teacher; what
        `TeacherSpec.of` refuses.
    """
    places: dict[str, list[str]] = {}
    for text in texts:
        task, equals, where = text.partition("=")
        if not (task and equals):
            raise UserError(f"--teachers: {text!r} received, expected TASK=FORMAT:PATH")
        places.setdefault(task, []).append(where)
    return make_specs(places, cards, thresholds, fields, allow_ops, augmentation)


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


def parse_classes(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Parses `TASK={LABEL: [CLASS, ...], ...}` into {task: {class of the model: label}}."""
    classes: dict[str, dict[str, str]] = {}
    for text in texts:
        task, equals, value = text.partition("=")
        wrong = UserError(
            f"--classes: {text[:100]!r} received, expected TASK={{LABEL: [CLASS, ...], ...}}, each task once"
        )
        if not (task and equals) or task in classes:
            raise wrong
        labels = load_yaml(value, f"--classes={task}")
        if not isinstance(labels, Mapping) or not labels:
            raise wrong
        classes[task] = classes_of(task, labels)
    return classes


def parse_tta(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parses `[TASK=]WORD,...` into {task, or empty for all tasks: words of a test-time augmentation}."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        task, equals, words = text.rpartition("=")
        if task in found or (equals and not task):
            raise UserError(f"--tta: {text!r} received, expected [TASK=]flip,scales, each task once")
        found[task] = tuple(words.split(","))
        check_augmentation(found[task], f"--tta={text}")
    return found


def parse_thresholds(texts: Iterable[str]) -> tuple[dict[str, dict[str, float | str]], dict[str, str]]:
    """Parses `TASK.THRESHOLD=VALUE` and `TASK=best:RECORDS`.

    Returns:
      {task: {threshold: value}}, where a value is a number from 0 to 1, or `best`; and {task: RECORDS}.
    """
    thresholds: dict[str, dict[str, float | str]] = {}
    calibrations: dict[str, str] = {}
    for text in texts:
        place, _, value = text.partition("=")
        if value.startswith(BEST_ON) and place not in calibrations and value != BEST_ON:
            calibrations[place] = value.removeprefix(BEST_ON)
            continue
        task, _, name = place.rpartition(".")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (task and name and (value == BEST or 0 <= number <= 1)) or name in thresholds.get(task, {}):
            raise UserError(
                f"--thresholds: {text!r} received, expected TASK.min_score=VALUE, from 0 to 1 or {BEST}, or "
                f"TASK={BEST_ON}RECORDS, each once"
            )
        thresholds.setdefault(task, {})[name] = BEST if value == BEST else number
    return thresholds, calibrations
