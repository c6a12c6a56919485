"""Teachers: any model that turns images into labels of one task. One file a format."""

from must_tf.errors import UserError, nearest
from must_tf.teachers.student import StudentTeacher
from must_tf.teachers.teacher import Teacher

__all__ = ["Teacher", "load_teacher", "load_teachers"]

_FORMATS = {"student": StudentTeacher}


def load_teacher(task: str, where: str) -> Teacher:
    """Loads a teacher.

    Args:
      task: name of the task that it labels.
      where: `FORMAT:PATH`; the formats: `student` (the workdir of a finished run).
    """
    kind, _, path = where.partition(":")
    if kind not in _FORMATS or not path:
        raise UserError(f"teacher {where!r} of task {task!r}: expected FORMAT:PATH; {nearest(kind, _FORMATS)}")
    return _FORMATS[kind](path, task)


def load_teachers(texts: list[str]) -> list[Teacher]:
    """Loads teachers from `TASK=FORMAT:PATH`, one a task."""
    pairs = [text.partition("=") for text in texts]
    names = [task for task, _, _ in pairs]
    for text, (task, equals, _) in zip(texts, pairs, strict=True):
        if not (task and equals):
            raise UserError(f"--teachers: {text!r} received, expected TASK=FORMAT:PATH")
        if names.count(task) > 1:
            raise UserError(f"--teachers: two teachers for task {task!r}; one a task can label")
    return [load_teacher(task, where) for task, _, where in pairs]
