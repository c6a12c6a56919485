"""Makes the teachers of a command from what a user says of them: models, cards, classes, thresholds, augmentation."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from must_tf.errors import UserError, nearest
from must_tf.parsing import as_items, check_form, parse, read_object
from must_tf.teachers.spec import DERIVE, STUDENT, TeacherSpec, check_augmentation, with_sources

BEST = "best"  # a threshold: the one with the best score in the teacher's evaluation
BEST_ON = "best:"  # begins the labeled images on which a teacher's thresholds are searched
EVALUATION = "evaluation.json"  # of a workdir, by `must evaluate`
_FEW = 10  # names that a line lists

Threshold = float | Mapping[str, float]  # one, or one by class
Thresholds = Mapping[str, Threshold | str]


def teachers_of(
    teachers: Mapping[str, str | Sequence[str]],
    cards: Mapping[str, str] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    classes: Mapping[str, Mapping[str, str | Sequence[str]]] | None = None,
    thresholds: Mapping[str, Thresholds | str] | None = None,
    tta: str | Sequence[str] | Mapping[str, str | Sequence[str]] = (),
    allow_ops: str | Sequence[str] = (),
) -> Callable[[], Any]:
    """Checks what was said of teachers, and returns the function that loads them.

    Args:
      teachers: {task: `FORMAT:PATH`, or several of them, which become an ensemble}.
      cards: {task, or `TASK.N` for the Nth teacher of an ensemble: file of the card}.
      fields: {task or `TASK.N`: {field of the card: value}}.
      classes: {task: {label: class of the model, or several}}; the other classes are dropped.
      thresholds: {task: {threshold: value from 0 to 1, or one by class, or `best`}}, or {task: `best:RECORDS`}.
      tta: words of the test-time augmentation of all tasks, or {task: words}.
      allow_ops: operations that SavedModels and .pt2 files may use although they do more than compute.

    Raises:
      UserError: a value is wrong, a model does not exist, or something is said of a task without a teacher.
    """
    check_form(cards or {}, "cards", "{task: file}")
    check_form(fields or {}, "fields", "{task: {field of the card: value}}", (Mapping,))
    check_form(classes or {}, "classes", "{task: {label: class}}", (Mapping,))
    numbers, calibrations = split_thresholds(thresholds or {})
    merged = {task: classes_of(task, labels) for task, labels in (classes or {}).items()}
    specs = make_specs(
        {task: as_items(where) for task, where in teachers.items()},
        cards,
        numbers,
        with_classes(fields or {}, merged),
        as_items(allow_ops),
        {task: as_items(words) for task, words in (tta if isinstance(tta, Mapping) else {"": tta}).items() if words},
    )
    return loader(specs, calibrations)


def split_thresholds(
    thresholds: Mapping[str, Thresholds | str],
) -> tuple[dict[str, dict[str, Threshold | str]], dict[str, str]]:
    """Returns the thresholds of `teachers_of` that are given, and {task: RECORDS} of those to be searched.

    Raises:
      UserError: a value is wrong.
    """
    check_form(thresholds, "thresholds", "{task: {threshold: number}} or {task: 'best:RECORDS'}", (Mapping, str))
    numbers = {task: dict(value) for task, value in thresholds.items() if not isinstance(value, str)}
    searched = {task: value for task, value in thresholds.items() if isinstance(value, str)}
    for task, value in searched.items():
        if not value.startswith(BEST_ON) or value == BEST_ON:
            raise UserError(f"--thresholds={task}: {value!r} received; expected best:RECORDS, or names with numbers")
    for task, given in numbers.items():
        for name, number in given.items():
            each = number.values() if isinstance(number, Mapping) else [number]
            if number != BEST and not all(isinstance(one, int | float) and 0 <= one <= 1 for one in each):
                raise UserError(f"--thresholds: {task}.{name}={number!r} received, expected 0 to 1, or {BEST}")
    return numbers, {task: value.removeprefix(BEST_ON) for task, value in searched.items()}


def loader(specs: Sequence[TeacherSpec], calibrations: Mapping[str, str]) -> Callable[[], Any]:
    """Returns the function that loads teachers, with thresholds searched on labeled images: {task: images}."""
    for task in calibrations:
        check_task("thresholds", task, {spec.task for spec in specs})

    def load() -> Any:
        from must_tf.labeling import calibrated
        from must_tf.teachers import load_teachers

        teachers = load_teachers(
            [calibrated(spec, calibrations[spec.task]) if spec.task in calibrations else spec for spec in specs]
        )
        for teacher in teachers:
            if teacher.left_out:
                print(f"{teacher.task.name}: {_left_out_words(teacher.left_out)}")
        return teachers

    return load


def make_specs(
    places: Mapping[str, Sequence[str]],
    cards: Mapping[str, str] | None = None,
    thresholds: Mapping[str, Thresholds] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    allow_ops: Sequence[str] = (),
    augmentation: Mapping[str, Sequence[str]] | None = None,
) -> list[TeacherSpec]:
    """Returns the specs of teachers, one per task; several of a task are one ensemble.

    Args:
      places: {task: one `FORMAT:PATH` per teacher}.
      cards: {task, or `TASK.N` for the Nth teacher of an ensemble: file}.
      thresholds: {task: {threshold: a number from 0 to 1, or one by class, or `best`}}.
      fields: {task or `TASK.N`: {field of its card: value}}.
      allow_ops: for all teachers, see `TeacherSpec`.
      augmentation: {task, or empty for all tasks: words}.

    Raises:
      UserError: a card, thresholds or an augmentation for a task without a teacher; what `TeacherSpec.of` refuses.
    """
    cards, thresholds, fields, augmentation = cards or {}, thresholds or {}, fields or {}, augmentation or {}
    numbered = {f"{task}.{i}" for task, several in places.items() for i in range(1, len(several) + 1)}
    for flag, tasks, known in (
        ("cards", {**cards, **fields}, {*places, *numbered}),
        ("thresholds", thresholds, {*places}),
        ("tta", [task for task in augmentation if task], {*places}),
    ):
        for task in tasks:
            check_task(flag, task, known)
    for task, words in augmentation.items():
        check_augmentation(words, f"--tta={task}" if task else "--tta")
    specs = []
    for task, several in places.items():
        names = [f"{task}.{i}" for i in range(1, len(several) + 1)]
        found = _calibrated(task, several, thresholds.get(task, {}))
        members = [
            TeacherSpec.of(
                task,
                where,
                card=cards.get(name, cards.get(task)),
                thresholds={} if len(several) > 1 else found,
                fields={**fields.get(task, {}), **fields.get(name, {})},
                allow_ops=tuple(allow_ops),
            )
            for name, where in zip(names, several, strict=True)
        ]
        words = augmentation.get(task, () if members[0].format == DERIVE else augmentation.get("", ()))
        is_alone = len(members) == 1 and not words
        specs.append(members[0] if is_alone else TeacherSpec.of_several(members, found, words))
    return with_sources(specs)


def classes_of(task: str, labels: Mapping[str, str | Sequence[str]]) -> dict[str, str]:
    """Turns {label: class of the model, or several} into {class: label}; wrong ones are a `UserError`."""
    classes: dict[str, str] = {}
    for label, names in labels.items():
        for name in as_items(names):
            if not (isinstance(label, str) and isinstance(name, str)):
                raise UserError(f"--classes={task}: {label}: {name!r} received; expected names, in quotes if numbers")
            if name in classes:
                raise UserError(f"--classes={task}: {name!r} becomes both {classes[name]!r} and {label!r}")
            classes[name] = label
    return classes


def with_classes(
    fields: Mapping[str, Mapping[str, Any]], classes: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """Returns the fields of cards, with `classes` as another one."""
    for task in classes:
        if "classes" in fields.get(task, {}):
            raise UserError(f"--classes={task}: received together with --cards.{task}.classes; give one of them")
    tasks = dict.fromkeys([*fields, *classes])
    return {task: {**fields.get(task, {}), **({"classes": classes[task]} if task in classes else {})} for task in tasks}


def check_task(flag: str, task: str, known: Collection[str]) -> None:
    """Raises a `UserError` if a flag names a task that no teacher has."""
    if task not in known:
        hint = nearest(task, known) if known else "there is none at all"
        raise UserError(f"--{flag}: no teacher for task {task!r}; {hint}")


def _left_out_words(names: Sequence[str]) -> str:
    """Returns how many classes become no label, and the first of them."""
    few = ", ".join(names[:_FEW]) + ", ..." * (len(names) > _FEW)
    return f"{len(names)} class{'es' * (len(names) > 1)} of the model become{'s' * (len(names) == 1)} no label: {few}"


def _calibrated(task: str, several: Sequence[str], thresholds: Thresholds) -> dict[str, Threshold]:
    """Returns a teacher's thresholds with `best` replaced by what `must evaluate` found, and prints that."""
    found: dict[str, Threshold] = {}
    for name, value in thresholds.items():
        if value == BEST:
            value, data = _evaluated(task, several, name)
            print(f"{task}: {name} {value:g}, the best on {data}")
        found[name] = value if isinstance(value, Mapping) else float(value)
    return found


def _evaluated(task: str, several: Sequence[str], name: str) -> tuple[float, str]:
    """Returns the score `best_NAME` of a student's evaluation, and the data that it was evaluated on."""
    from must_tf.copies import fetched
    from must_tf.saving import WEIGHTS
    from must_tf.storage import sha256

    flag, where = f"--thresholds: {task}.{name}={BEST}", " and ".join(several)
    workdir = where.removeprefix(f"{STUDENT}:")
    if workdir == where or len(several) > 1:
        raise UserError(
            f"{flag} needs a student as teacher, received {where}; give a number, or {task}={BEST_ON}RECORDS"
        )
    run = fetched(workdir)
    path = run / EVALUATION
    if not path.is_file():
        raise UserError(
            f"{flag} needs {workdir}/{EVALUATION}; run `must evaluate --workdir={workdir} --data=FOLDER` first"
        )
    value = read_object(path)
    if not (run / WEIGHTS).is_file():  # as of a run that has got more steps since
        raise UserError(f"{flag} needs a finished run; run `must train --workdir={workdir}` to its end")
    if value.get("sha256") != sha256(run / WEIGHTS):
        raise UserError(f"{path}: not of the weights that are in {workdir}; run `must evaluate` again")
    by_task = parse(dict[str, dict[str, float | None]], value.get("scores"), path, "scores")
    scores = by_task.get(task) or (next(iter(by_task.values())) if len(by_task) == 1 else {})
    best = scores.get(f"best_{name}")
    if best is None:
        raise UserError(f"{path}: no score best_{name} of task {task!r}; give a number to --thresholds")
    return best, str(value.get("data"))
