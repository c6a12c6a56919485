"""Reads JSON and YAML that may be wrong or hostile: bounded in size and depth, and checked against dataclasses.

All files that people or other programs may have written come through here: cards, manifests, configs, tables.
"""

import collections.abc
import dataclasses
import json
import os
import reprlib
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from must_tf.errors import UserError, nearest

T = TypeVar("T")

_MOST_BYTES = 2**28  # of a file
_MOST_VALUES = 10**7  # once YAML's aliases are unfolded
_MOST_DEPTH = 50
_WORDS = {str: "text", float: "a number", int: "a whole number", bool: "true or false", type(None): "null"}


class FrozenDict(dict):
    """A dict that can be a key; nothing may change it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def frozen(value: Any) -> Any:
    """Returns JSON values as values that can be keys: lists become tuples and dicts `FrozenDict`s, at any depth."""
    if isinstance(value, Mapping):
        return FrozenDict((key, frozen(part)) for key, part in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def short(value: Any) -> str:
    """Returns what an error message says of a value: never more than a line, however large the value is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 100, 100
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8


def read_text(path: str | os.PathLike, missing: str = "no such file") -> str:
    """Reads a text file in UTF-8; one that is missing, too large or no text is a `UserError`."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise UserError(f"{path}: {size:,} bytes; expected {_MOST_BYTES:,} at most")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: {missing}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; expected a file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file; one that is missing, broken or nested too deep is a `UserError` that names it."""
    return load_json(read_text(path), path)


def read_jsonl(path: str | os.PathLike) -> list[Any]:
    """Reads a file with one JSON value per line; errors name the line."""
    return [load_json(line, f"{path}:{number}") for number, line in enumerate(read_text(path).splitlines(), 1)]


def read_yaml(path: str | os.PathLike) -> Any:
    """Reads a YAML or, by its suffix, a JSON file; see `read_json`."""
    text = read_text(path)
    return load_json(text, path) if str(path).endswith(".json") else load_yaml(text, path)


def load_json(text: str | bytes, where: str | os.PathLike) -> Any:
    """Returns the values of a JSON text.

    Raises:
      UserError: names `where` it is from: no JSON, or nested too deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise UserError(f"{where}: nested too deep; expected {_MOST_DEPTH} levels at most") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error}); write it again with the command that made it") from None
    return _bounded(value, where)


def load_yaml(text: str, where: str | os.PathLike) -> Any:
    """Returns the values of a YAML text; see `load_json`. Aliases that unfold to very much are refused."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise UserError(f"{where}: nested too deep; expected {_MOST_DEPTH} levels at most") from None
    except (ValueError, TypeError, OverflowError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())[:200]}") from None
    return _bounded(value, where)


def _bounded(value: Any, where: str | os.PathLike) -> Any:
    """Returns a value that is neither too deep nor, with each alias counted as often as it stands, too large."""
    sizes: dict[int, tuple[int, int]] = {}  # of containers, by id: values and levels

    def measure(part: Any, level: int) -> tuple[int, int]:
        if not isinstance(part, dict | list | tuple | set):
            return 1, 0
        if level > _MOST_DEPTH:
            raise UserError(f"{where}: nested too deep; expected {_MOST_DEPTH} levels at most")
        if id(part) not in sizes:
            inside = [*part.keys(), *part.values()] if isinstance(part, dict) else part
            found = [measure(one, level + 1) for one in inside]
            sizes[id(part)] = 1 + sum(size for size, _ in found), 1 + max((depth for _, depth in found), default=0)
        size, depth = sizes[id(part)]
        if size > _MOST_VALUES or level + depth > _MOST_DEPTH + 1:
            what = f"{size:,} values" if size > _MOST_VALUES else "nested too deep"
            raise UserError(f"{where}: {what}; expected {_MOST_VALUES:,} at most, in {_MOST_DEPTH} levels")
        return size, depth

    measure(value, 0)
    return value


def parse(kind: type[T] | Any, value: Any, where: str | os.PathLike, field: str = "") -> T:
    """Returns JSON values as a value of a type.

    Types are those of dataclass fields: dataclasses, `str`, `int`, `float`, `bool`, None, `tuple`, `Mapping`,
    `Literal`, `Any` and unions of them. Lists become tuples; an int will do for a float. A class with a method
    `from_json(value, where)` reads itself.

    Args:
      kind: the type.
      value: JSON values.
      where: what the values are from, for messages: a file or a flag.
      field: name of the value in it; empty for the whole.

    Raises:
      UserError: one line that names where, field and value: an unknown field (and the nearest known one), a field that
        is missing, a value of another type.
    """
    return _parse(kind, value, lambda problem: UserError(f"{where}: {problem}"), field, where)


def _parse(kind: Any, value: Any, error: Callable[[str], UserError], field: str, where: Any) -> Any:
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if kind is Any:
        return frozen(value)
    if hasattr(kind, "from_json"):
        return kind.from_json(value, where)
    if origin in (types.UnionType, typing.Union):
        return _parse_union(parts, value, error, field, where)
    if origin is typing.Literal:
        if not isinstance(value, Hashable) or value not in parts:
            raise error(f"{_said(field)}{short(value)} received; expected one of {', '.join(map(str, parts))}")
        return value
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, error, field, where)
    if origin is tuple:
        return _parse_tuple(parts, value, error, field, where)
    if origin in (dict, Mapping, collections.abc.Mapping):
        if not isinstance(value, dict):
            raise error(f"{_said(field)}{short(value)} received; expected {words(kind)}")
        of = parts[1] if parts else Any
        for key in value:
            if parts and parts[0] is str and not isinstance(key, str):
                raise error(f"{_said(field)}{short(key)} received; expected text: put it in quotes")
        named = {
            key: _parse(of, part, error, f"{field}.{key}" if field else str(key), where) for key, part in value.items()
        }
        return FrozenDict(named)
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        hint = ": put it in quotes" if kind is str and isinstance(value, int | float) else ""
        raise error(f"{_said(field)}{short(value)} received; expected {words(kind)}{hint}")
    return float(value) if kind is float else value


def _parse_union(parts: Iterable[Any], value: Any, error: Callable[[str], UserError], field: str, where: Any) -> Any:
    parts, problem = tuple(parts), None
    if value is None and type(None) in parts:
        return None
    rest = [part for part in parts if part is not type(None)]
    for part in rest:
        try:
            return _parse(part, value, error, field, where)
        except UserError as failed:
            problem = failed
    if len(rest) == 1 and problem:
        raise problem
    raise error(f"{_said(field)}{short(value)} received; expected {' or '.join(map(words, rest))}")


def _parse_tuple(parts: tuple, value: Any, error: Callable[[str], UserError], field: str, where: Any) -> tuple:
    kind: Any = tuple.__class_getitem__(parts) if parts else tuple
    if not isinstance(value, list | tuple):
        raise error(f"{_said(field)}{short(value)} received; expected {words(kind)}")
    if not parts:
        return frozen(value)
    if parts[-1] is ...:
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        raise error(f"{_said(field)}{short(value)} received; expected {words(kind)}")
    return tuple(
        _parse(part, one, error, f"{field}[{i}]", where) for i, (part, one) in enumerate(zip(parts, value, strict=True))
    )


def _parse_fields(kind: Any, value: Any, error: Callable[[str], UserError], field: str, where: Any) -> Any:
    if not isinstance(value, Mapping):
        raise error(f"{_said(field)}{short(value)} received; expected names with values")
    hints = typing.get_type_hints(kind)
    known = {one.name: one for one in dataclasses.fields(kind) if one.init}
    place = f"{field}." if field else ""
    for name in value:
        if name not in known:
            raise error(f"field {short(f'{place}{name}')} is unknown; {nearest(str(name), known)}")
    for name, one in known.items():
        required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise error(f"field {place + name!r} is missing")
    return kind(**{name: _parse(hints[name], part, error, f"{place}{name}", where) for name, part in value.items()})


def words(kind: Any) -> str:
    """Returns what a value of a type is called in messages."""
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(words(part) for part in parts if part is not type(None))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        if not parts:
            return "a list"
        many = parts[-1] is ...
        inside = {int: "whole numbers", float: "numbers", str: "texts"}.get(parts[0], "values")
        return f"a list of {inside}" if many else f"{len(parts)} {inside}"
    if origin in (dict, Mapping, collections.abc.Mapping) or dataclasses.is_dataclass(kind):
        return "names with values"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _said(field: str) -> str:
    return f"{field}: " if field else ""


def plain_name(name: Any, what: str, where: str | os.PathLike) -> str:
    """Returns the name of a task, a shard or a column; one that could be a path is a `UserError`.

    Names become those of files and folders, and parts of keys: letters, digits and `._-`, no dot first.
    """
    allowed = isinstance(name, str) and 0 < len(name) <= 200 and all(c.isalnum() or c in "._- " for c in name)
    if not allowed or name[0] in ". -":
        raise UserError(f"{where}: {short(name)} received; expected the name of {what}: letters, digits, '_', '-', '.'")
    return name
