"""Checks a `.pt2` file of `torch.export` before PyTorch loads it: PyTorch may run code that stands in the file.

`torch.export.load` unpickles some payloads, loads compiled libraries, evaluates symbolic expressions as Python, looks
operators up by any name that can be reached from the module `torch`, and makes Python code out of the names of values.
What only computes needs none of this: plain weights, operators of ATen, arithmetic of sizes, and identifiers. Anything
else is refused.

The check is no sandbox: a crafted model may still find a defect of PyTorch.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from must_tf.errors import UserError, one_line
from must_tf.parsing import short
from must_tf.teachers.model import optional

_MODEL, _SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_PLAIN = re.compile(
    r"(\.data/\w+|\.format_version|\.storage_alignment|archive_format|archive_version|byteorder|version|extra/.*"
    r"|data/(weights|constants)/(model_\w+_config\.json|weight_\d+|tensor_\d+))"
)
_TENSOR = re.compile(r"(weight|tensor)_\d+")
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|torch\.ops\.torchvision\.(nms|roi_align|deform_conv2d)\.default"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_(max|min|int|float|not|ite|sqrt|sum)|math\.(ceil|floor|trunc|sqrt)"
)
_OF_FILES = re.compile(r"torch\.ops\.aten\.(from_file|save)\..*")
_FUNCTIONS = frozenset({  # of sizes, in SymPy and in PyTorch's own addition to it
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
    "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And", "Or", "Not",
    "Identity", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilDiv", "CeilToInt",
    "FloorToInt", "TruncToInt", "RoundToInt", "RoundDecimal", "TruncToFloat", "IntTrueDiv", "FloatTrueDiv", "ToFloat",
    "PowByNatural", "FloatPow", "LShift", "RShift",
})  # fmt: skip
_ARITHMETIC = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.UnaryOp, ast.USub),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
)
_CONTAINERS = re.compile(r"builtins\.(dict|list|tuple|NoneType)|collections\.OrderedDict|torch\.fx\.immutable_\w+\.\w+")
_MOST_BYTES = 2**28  # of a member that is no tensor
_TRUST = "PyTorch could run code of the file; export the model again with torch.export.save, as tensors and ATen only"


def check(path: str, allow: Iterable[str] = ()) -> None:
    """Checks a file without loading it.

    Args:
      path: the file.
      allow: names of operators that it may use beside the trusted ones.

    Raises:
      UserError: the file is damaged, or holds what may run code when it is loaded.
    """
    where = f"torch:{path}"
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(where, archive, frozenset(allow))
    except (zipfile.BadZipFile, EOFError, KeyError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{where}: damaged, or not of torch.export.save: {one_line(error)}") from None


def _check_archive(where: str, archive: zipfile.ZipFile, allow: frozenset[str]) -> None:
    root = archive.namelist()[0].partition("/")[0] + "/" if archive.namelist() else ""
    names = [name.removeprefix(root) for name in archive.namelist()]
    if len(set(names)) < len(names):
        raise UserError(f"{where}: holds two files of one name; {_TRUST}")
    if _MODEL not in names:
        raise UserError(f"{where}: holds no {_MODEL}; expected a file of torch.export.save of PyTorch 2.8 or later")
    for name in names:
        if name not in (_MODEL, _SAMPLES) and not _PLAIN.fullmatch(name):
            raise UserError(f"{where}: holds {short(name)}, which is no plain tensor; {_TRUST}")
    for name in set(_PAYLOADS).intersection(names):
        for key, payload in json.loads(_read(archive, root + name))["config"].items():
            if payload.get("use_pickle") is not False or not _TENSOR.fullmatch(payload["path_name"]):
                raise UserError(f"{where}: {short(key)} is no plain tensor, or is pickled; {_TRUST}")
    _check_samples(where, _read(archive, root + _SAMPLES))
    for problem in _problems(json.loads(_read(archive, root + _MODEL)), allow):
        raise UserError(f"{where}: {problem}; {_TRUST}")


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns a member that is no tensor; a size beyond all use is damage."""
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise zipfile.BadZipFile(f"{name} has more than {_MOST_BYTES} bytes")
    return archive.read(name)


def _check_samples(where: str, pickled: bytes) -> None:
    """Unpickles sample inputs as PyTorch would, but tensors only: PyTorch goes on without that limit if it fails."""
    torch = optional("torch", "hf")
    try:
        torch.load(io.BytesIO(pickled), weights_only=True)
    except Exception as error:  # of any kind: what is unpickled decides
        raise UserError(f"{where}: its sample inputs are no tensors ({one_line(error)}); {_TRUST}") from None


def _problems(value: Any, allow: frozenset[str], key: str = "") -> Iterator[str]:
    """Yields what in a part of the model's JSON could run code."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _problems(part, allow, name)
    elif isinstance(value, list):
        for part in value:
            yield from _problems(part, allow, key)
    elif isinstance(value, str) and (what := _wrong(key, value, allow)):
        yield f"{what} {short(value)}"


def _wrong(key: str, value: str, allow: frozenset[str]) -> str | None:
    """Returns what a text of the model's JSON is that is not trusted; None where it is, or where it is only text."""
    match key:
        case "target" | "as_operator":
            trusted = (_OPERATOR.fullmatch(value) and not _OF_FILES.fullmatch(value)) or value in allow
            return None if trusted else "uses the operator"
        case "expr_str":
            return None if _is_arithmetic(value) else "computes a size by"
        case "name" | "as_name" | "graph_name" | "forward_arg_names":
            return None if value.isidentifier() or not value else "names a value"
        case "parameter_name" | "buffer_name" | "tensor_constant_name":
            return None if re.fullmatch(r"[\w.]+", value) else "names a tensor"
        case "in_spec" | "out_spec":
            return None if _holds_containers(json.loads(value)) else "has inputs or outputs of the type"
        case "class_fqn" | "custom_obj_name":
            return "holds the object"
    return None


def _holds_containers(spec: Any) -> bool:
    """Whether a structure of inputs or outputs is of plain containers; `context` holds their keys as text."""
    if isinstance(spec, list):
        return all(map(_holds_containers, spec))
    if not isinstance(spec, dict):
        return True
    kind = spec.get("type")
    return (kind is None or bool(_CONTAINERS.fullmatch(kind))) and _holds_containers(spec.get("children_spec", []))


def _is_arithmetic(text: str) -> bool:
    """Whether an expression does no more than compute with sizes."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in nodes:
        if not isinstance(node, _ARITHMETIC) or (isinstance(node, ast.Name) and node.id not in _FUNCTIONS):
            return False
        # SymPy evaluates some texts again.
        if isinstance(node, ast.Constant) and not re.fullmatch(r"\w+|[-+]?[\d.]+(e[-+]?\d+)?", str(node.value)):
            return False
    return True
