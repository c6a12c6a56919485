"""Reads JSON and YAML that may be wrong or hostile: bounded in size and depth, and checked against dataclasses.

All files that people or other programs may have written come through here: cards, manifests, configs, tables.
"""

import collections.abc
import dataclasses
import functools
import json
import math
import numbers
import os
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import yaml

from must_tf.buckets import Remote
from must_tf.errors import UserError, nearest, one_line

Where = str | os.PathLike  # what values are from, for messages: a file or a flag

_MOST_BYTES = 2**26  # of a JSON file: a manifest of ten thousand shards has a tenth of it
_MOST_YAML_BYTES = 2**20  # of a YAML file, which takes seconds; the same as JSON takes none
_MOST_VALUES = 10**6  # of a YAML file, each alias counted as what it stands for
_MOST_DEPTH = 50
_MOST_BITS, _MOST_DIGITS = 64, 100  # of a number
_SURROGATE = re.compile("[\ud800-\udfff]")

TOO_DEEP = f"nested too deep; expected {_MOST_DEPTH} levels at most"
_WORDS = {str: "text", float: "a number", int: "a whole number", bool: "true or false", type(None): "null"}
_INSIDE = {str: "texts", float: "numbers", int: "whole numbers"}


def as_items(value: Any) -> tuple[Any, ...]:
    """Returns items as a tuple; one text, path or number alone is one item."""
    single = isinstance(value, str | os.PathLike) or not isinstance(value, collections.abc.Iterable)
    return (value,) if single else tuple(value)


def as_size(value: Any, where: Where) -> tuple[int, int]:
    """Returns height and width; one number is both.

    Raises:
      UserError: something else.
    """
    sides = as_items(value)
    if len(sides) not in (1, 2) or not all(isinstance(side, numbers.Integral) and int(side) > 0 for side in sides):
        raise UserError(f"{where}: {short(value)} received; expected height and width, or one number for both")
    return int(sides[0]), int(sides[-1])


def check_form(value: Any, where: Where, form: str, inner: tuple[type, ...] = ()) -> None:
    """Raises a `UserError` if a value is no mapping, or one whose values are of other types than `inner`.

    Args:
      value: an argument of a function.
      where: its name.
      form: what is expected, such as `{task: file}`.
      inner: types of the values; empty takes any.
    """
    if not isinstance(value, collections.abc.Mapping):
        raise UserError(f"{where}: {short(value)} received; expected {form}")
    for key, one in value.items():
        if inner and not isinstance(one, inner):
            raise UserError(f"{where}: {key}: {short(one)} received; expected {form}")


class FrozenDict(dict):
    """A dict that can be a key of another one: it cannot be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple:
        return FrozenDict, (dict(self),)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a FrozenDict cannot be changed; make a dict of it first")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]


def frozen(value: Any) -> Any:
    """Returns JSON values as values that can be keys: lists become tuples and dicts `FrozenDict`s, at any depth."""
    if isinstance(value, Mapping):
        return FrozenDict((key, frozen(part)) for key, part in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


class _Short(reprlib.Repr):
    """Cuts texts and lists short, and numbers that Python will not print."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 100, 100
        self.maxlist = self.maxtuple = self.maxdict = 8

    def repr_int(self, value: int, level: int) -> str:
        bits = value.bit_length()
        return repr(value) if bits <= 2 * _MOST_BITS else f"<a whole number of {bits} bits>"

    def repr_FrozenDict(self, value: FrozenDict, level: int) -> str:
        return self.repr_dict(value, level)


_SHORT = _Short()


def short(value: Any) -> str:
    """Returns what an error message says of a value: never more than a line, however large the value is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


# Files


def read_text(path: str | os.PathLike, missing: str = "no such file", most_bytes: int = _MOST_BYTES) -> str:
    """Reads a text file in UTF-8.

    Args:
      path: of the file.
      missing: what an error says where there is none.
      most_bytes: size of the largest file that is read.

    Raises:
      UserError: the file is missing, a folder, too large, or no text.
    """
    try:
        data = path.read_bytes(most_bytes + 1) if isinstance(path, Remote) else _first_bytes(path, most_bytes + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: {missing}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; expected a file") from None
    except ValueError as error:  # a byte of value 0
        raise UserError(f"{short(str(path))}: no name of a file ({error})") from None
    if len(data) > most_bytes:
        raise UserError(f"{path}: is too large; expected {most_bytes:,} bytes at most")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None


def _first_bytes(path: str | os.PathLike, most: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(most)


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file; one that is missing, too large or broken is a `UserError`, see `load_json`."""
    return load_json(read_text(path), path)


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file that holds an object, as `read_json`; any other value is a `UserError` too."""
    return load_object(read_text(path), path)


def read_jsonl(path: str | os.PathLike) -> list[Any]:
    """Reads a file with one JSON value per line; errors name the line."""
    return [load_json(line, f"{path}:{number}") for number, line in enumerate(read_text(path).splitlines(), 1)]


def read_yaml(path: str | os.PathLike) -> Any:
    """Reads a YAML or, by its suffix, a JSON file; see `load_yaml` and `load_json`."""
    if str(path).endswith(".json"):
        return read_json(path)
    return load_yaml(read_text(path, most_bytes=_MOST_YAML_BYTES), path)


def load_json(text: str | bytes, where: Where) -> Any:
    """Returns the values of a JSON text.

    Raises:
      UserError: names `where` it is from: no JSON, a name that occurs twice, values nested too deep, a whole number of
        more than 64 bits, a text that no file could hold.
    """
    return checked(decode_json(text, where, unique_names), where)


def load_object(text: str, where: Where) -> dict[str, Any]:
    """Returns the object of a JSON text, as `load_json`; any other value is a `UserError` too."""
    value = load_json(text, where)
    if not isinstance(value, dict):
        raise UserError(f"{where}: {short(value)} received; expected names with values")
    return value


def decode_json(text: str | bytes, where: Where, make_object: Callable[[list], Any] | None = None) -> Any:
    """Returns the values of a JSON text, without the checks of `load_json` that look at each: for large files of data.

    Args:
      text: to be decoded.
      where: it is from, for messages.
      make_object: makes an object of a list of its names and values.
    """
    try:
        return json.loads(text, object_pairs_hook=make_object)
    except RecursionError:
        raise UserError(f"{where}: {TOO_DEEP}") from None
    except ValueError as error:
        raise not_json(where, error) from None


def not_json(where: Where, problem: object) -> UserError:
    """Returns the error of a text that is no JSON."""
    return UserError(f"{where}: not valid JSON ({problem}); write it again with the command that made it")


def load_yaml(text: str, where: Where) -> Any:
    """Returns the values of a YAML text, which are those that JSON has: no dates, sets or other types.

    Raises:
      UserError: as of `load_json`; or aliases that stand for too many values.
    """
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check_nodes(root, where)
        return checked(loader.construct_document(root), where)
    except RecursionError:
        raise UserError(f"{where}: {TOO_DEEP}") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not valid YAML: {one_line(error)}") from None
    finally:
        if loader:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.1, and `1e-5` as the number that it is in JSON; gives up early on brackets without an end."""

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        if self.flow_level > _MOST_DEPTH:
            raise RecursionError
        super().fetch_flow_collection_start(token_class)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))
_YAML_TYPES = ("null", "bool", "int", "float", "str", "seq", "map", "merge")


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes the dict of a JSON object, in which no name may occur twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {short(next(name for name in names if names.count(name) > 1))} occurs twice")
    return made


def _check_nodes(root: Any, where: Where) -> None:
    """Raises a `UserError` where the nodes of a YAML text would make too many values, or values that JSON has not."""
    sizes: dict[int, tuple[int, int]] = {}  # by the id of a node: values and levels in it
    open_nodes: set[int] = set()

    def fail(node: Any, problem: str) -> NoReturn:
        raise UserError(f"{where}: line {node.start_mark.line + 1}: {problem}")

    def measure(node: Any, level: int) -> tuple[int, int]:
        if id(node) in open_nodes:
            fail(node, "a value that holds itself")
        if id(node) not in sizes:
            if level > _MOST_DEPTH:
                fail(node, TOO_DEEP)
            open_nodes.add(id(node))
            sizes[id(node)] = whole(node, level)
            open_nodes.remove(id(node))
        size, depth = sizes[id(node)]
        if size > _MOST_VALUES:
            fail(node, f"{size:,} values, its aliases unfolded; expected {_MOST_VALUES:,} at most")
        if level + depth > _MOST_DEPTH + 1:
            fail(node, TOO_DEEP)
        return size, depth

    def whole(node: Any, level: int) -> tuple[int, int]:
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _YAML_TYPES:
            what = node.tag.rpartition(":")[2]
            fail(node, f"a value of the type {short(what)}; expected text, numbers, lists or names: put it in quotes")
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith((":int", ":float")) and len(node.value) > _MOST_DIGITS:
                fail(node, f"{short(node.value)} received; expected a number of {_MOST_DIGITS} digits at most")
            return 1, 0
        inside = node.value
        if isinstance(node, yaml.MappingNode):
            names = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(names)) < len(names):
                fail(node, f"the name {short(next(one for one in names if names.count(one) > 1)[1])} occurs twice")
            inside = [part for pair in node.value for part in pair]
        found = [measure(part, level + 1) for part in inside]
        return 1 + sum(size for size, _ in found), 1 + max((depth for _, depth in found), default=0)

    measure(root, 0)


def checked(value: Any, where: Where, level: int = 0) -> Any:
    """Returns values that are not nested too deep, whose numbers fit 64 bits and whose texts can be written."""
    if isinstance(value, dict | list):
        if level > _MOST_DEPTH:
            raise UserError(f"{where}: {TOO_DEEP}")
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            checked(part, where, level + 1)
    elif isinstance(value, str):
        if not value.isascii() and _SURROGATE.search(value):
            raise UserError(f"{where}: {short(value)} received; expected text that UTF-8 can write (no surrogates)")
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise UserError(f"{where}: {short(value)} received; expected {_MOST_BITS} bits at most")
    return value


# Types


def parse(kind: Any, value: Any, where: Where, field: str = "") -> Any:
    """Returns JSON values as a value of a type.

    Types are those of dataclass fields: dataclasses, `str`, `int`, `float`, `bool`, None, `tuple`, `list`, `Sequence`,
    `dict`, `Mapping`, `Literal`, `Any` and unions of them. Where a type says `tuple`, `Sequence` or `Any`, lists become
    tuples; where it says `Mapping` or `Any`, dicts become `FrozenDict`s. An int will do for a float, and an instance of
    a dataclass for itself. A class with a method `from_json(value, where)` reads itself. A dataclass may raise a
    ValueError, `FIELD: problem`, in `__post_init__`.

    Args:
      kind: the type.
      value: JSON values.
      where: what the values are from, for messages: a file or a flag.
      field: name of the value in it; empty for the whole.

    Raises:
      UserError: one line that names where, field and value: an unknown field (and the nearest known one), a field that
        is missing, a value of another type.
    """
    origin, parts = _opened(kind)
    if kind is Any:
        return frozen(value)
    if hasattr(kind, "from_json"):
        return kind.from_json(value, where)
    if origin in (types.UnionType, typing.Union):
        return _parse_union(kind, parts, value, where, field)
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, typing.cast(type, kind)) else _parse_fields(kind, value, where, field)
    if origin in (tuple, list):
        return _parse_list(kind, origin, parts, value, where, field)
    if origin in (dict, collections.abc.Mapping):
        return _parse_dict(kind, origin, parts, value, where, field)
    if not (_is_one_of(value, parts) if origin is typing.Literal else _is_a(value, kind)):
        quotes = kind is str and isinstance(value, int | float)
        raise _error(where, field, f"{short(value)} received; expected {words(kind)}{': put it in quotes' * quotes}")
    return float(value) if kind is float else value


def _opened(kind: Any) -> tuple[Any, tuple]:
    """Returns what a type is made of and what it is of; a sequence is made as a tuple."""
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    return (tuple, (*parts, ...)) if origin is collections.abc.Sequence else (origin, parts)


def _is_one_of(value: Any, known: tuple) -> bool:
    return any(type(value) is type(one) and value == one for one in known)


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a scalar type; True is no number, and no number is infinite."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value is None if kind is None else isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _parse_union(kind: Any, parts: tuple, value: Any, where: Where, field: str) -> Any:
    if value is None and type(None) in parts:
        return None
    rest = [part for part in parts if part is not type(None)]
    if len(rest) == 1:
        return parse(rest[0], value, where, field)
    for part in sorted(rest, key=lambda part: part is float):  # where an int will do for itself
        try:
            return parse(part, value, where, field)
        except UserError:
            continue
    raise _error(where, field, f"{short(value)} received; expected {words(kind)}")


def _parse_list(kind: Any, origin: Any, parts: tuple, value: Any, where: Where, field: str) -> Any:
    many = origin is list or not parts or parts[-1] is ...
    if not isinstance(value, list | tuple) or not (many or len(parts) == len(value)):
        raise _error(where, field, f"{short(value)} received; expected {words(kind)}")
    of = [parts[0] if parts else Any] * len(value) if many else parts
    return origin(
        parse(part, one, where, f"{field}[{index}]") for index, (part, one) in enumerate(zip(of, value, strict=True))
    )


def _parse_dict(kind: Any, origin: Any, parts: tuple, value: Any, where: Where, field: str) -> Any:
    if not isinstance(value, Mapping):
        raise _error(where, field, f"{short(value)} received; expected {words(kind)}")
    of_key, of_value = parts or (Any, Any)
    made = {
        parse(of_key, key, where, field): parse(of_value, part, where, _inside(field, key))
        for key, part in value.items()
    }
    return made if origin is dict else FrozenDict(made)


def _parse_fields(kind: Any, value: Any, where: Where, field: str) -> Any:
    if not isinstance(value, Mapping):
        raise _error(where, field, f"{short(value)} received; expected {words(kind)}")
    known = _fields(kind)
    for name in value:
        if name not in known:
            problem = f"field {short(_inside(field, name))} is unknown; {nearest(str(name), known)}"
            raise UserError(f"{where}: {problem}")
    for name, (_, required) in known.items():
        if required and name not in value:
            raise UserError(f"{where}: field {_inside(field, name)!r} is missing")
    made = {name: parse(known[name][0], part, where, _inside(field, name)) for name, part in value.items()}
    try:
        return kind(**made)
    except UserError as error:  # of the fields together
        raise UserError(f"{where}: {str(error)[:500]}") from None
    except ValueError as problem:  # of `__post_init__`: FIELD: what is wrong
        said = one_line(problem)
        said = said if said.isprintable() else short(said)
        raise UserError(f"{where}: {field}.{said}" if field else f"{where}: {said}") from None


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Returns the fields that a dataclass is made of: {name: (type, whether it has no default)}."""
    hints = typing.get_type_hints(kind)
    absent = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is absent and field.default_factory is absent)
        for field in dataclasses.fields(kind)
        if field.init
    }


def words(kind: Any) -> str:
    """Returns what a value of a type is called in messages."""
    origin, parts = _opened(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(words(part) for part in parts)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (tuple, list):
        inside = _INSIDE.get(parts[0], "values") if parts else "values"
        return f"a list of {inside}" if origin is list or not parts or parts[-1] is ... else f"{len(parts)} {inside}"
    if origin in (dict, collections.abc.Mapping) or dataclasses.is_dataclass(kind):
        return "names with values"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _inside(field: str, name: Any) -> str:
    """Returns the name of a field in a field, `trunk.width`; one that is no plain name is cut short."""
    text = name if isinstance(name, str) and name.isprintable() and len(name) <= 100 else short(name)
    return f"{field}.{text}" if field else text


def _error(where: Where, field: str, problem: str) -> UserError:
    return UserError(f"{where}: {field}: {problem}" if field else f"{where}: {problem}")


def plain_name(name: Any, what: str, where: Where) -> str:
    """Returns the name of a task, a shard or a column; one that could be a path is a `UserError`.

    Names become those of files and folders, and parts of keys: letters, digits, spaces and `._-`, no dot first.
    """
    allowed = isinstance(name, str) and all(character.isalnum() or character in "._- " for character in name)
    if not allowed or not 0 < len(name.encode()) <= 200 or name[0] in ". -":
        raise UserError(f"{where}: {short(name)} received; expected the name of {what}: letters, digits, '_', '-', '.'")
    return name
