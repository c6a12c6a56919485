"""Reads a list of class names, such as classes.txt: one per line, of which the first is that of class 0."""

import collections
from pathlib import Path

from must_tf.errors import UserError
from must_tf.parsing import read_text, short


def read_class_list(path: Path, by_name: bool = False, comment: str | None = None) -> tuple[str, ...]:
    """Returns the names in the order of the lines.

    Args:
      path: of the list.
      by_name: whether labels name their classes, so that empty lines change nothing and are left out. Where labels have
        numbers, empty lines may stand at the end alone.
      comment: how lines begin that are left out; None takes all.

    Raises:
      UserError: there is no name, one is there twice, or a line between others is empty: is it a class or none?
    """
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    names = [name for name in names if (name or not by_name) and not (comment and name.startswith(comment))]
    if not any(names):
        raise UserError(f"{path}: names no class; expected one name per line")
    if "" in names:
        number = names.index("") + 1
        raise UserError(f"{path}: line {number} is empty; expected the name of class {number - 1}, or no such line")
    (again, count), *_ = collections.Counter(names).most_common(1)
    if count > 1:
        raise UserError(f"{path}: {short(again)} is there twice; give each class a name of its own")
    return tuple(names)
