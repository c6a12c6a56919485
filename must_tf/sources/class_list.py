"""Reads a list of class names, such as classes.txt: one per line, of which the first is that of class 0."""

from pathlib import Path

from must_tf.errors import UserError
from must_tf.parsing import read_text, short


def read_class_list(path: Path) -> tuple[str, ...]:
    """Returns the names in the order of the lines; empty lines may stand at the end alone.

    Raises:
      UserError: there is no name, one is there twice, or a line between others is empty: is it a class or none?
    """
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not any(names):
        raise UserError(f"{path}: names no class; expected one name per line")
    if "" in names:
        number = names.index("") + 1
        raise UserError(f"{path}: line {number} is empty; expected the name of class {number - 1}, or no such line")
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise UserError(f"{path}: {short(again)} is there twice; give each class a name of its own")
    return tuple(names)
