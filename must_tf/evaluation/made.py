"""Reads JSON files that a command of ours made, such as tables: what is wrong in them, and the command to repeat."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from must_tf.errors import UserError
from must_tf.parsing import parse, read_json
from must_tf.storage import without_nan

T = TypeVar("T")


def read_made(
    kind: type[T], path: str | os.PathLike, problems: Callable[[T], Iterable[str]], maker: str = "must transfer"
) -> T:
    """Reads a JSON file as a dataclass; numbers that are not finite become None.

    Args:
      kind: the dataclass.
      path: the file.
      problems: says what is wrong with a value whose fields have the right types.
      maker: the command that makes such files, for a file without a `command` of its own.

    Raises:
      UserError: one line with the file, the field and the command that makes the file again.
    """
    return parse_made(kind, read_json(path), path, problems, maker)


def parse_made(
    kind: type[T],
    value: Any,
    where: str | os.PathLike,
    problems: Callable[[T], Iterable[str]],
    maker: str = "must transfer",
) -> T:
    """Returns JSON values as a dataclass; see `read_made`."""
    command = value.get("command") if isinstance(value, dict) else None
    maker = " ".join(command.split()) if isinstance(command, str) and command.strip() else maker
    try:
        made: T = parse(kind, without_nan(value), where)
        for problem in problems(made):
            raise UserError(f"{where}: {problem}")
    except UserError as error:
        raise UserError(f"{error}; make the file again with `{maker}`") from None
    return made
