"""Loads the weights that a run starts from (`init_from`): the trunk of an export, a finished run, or a checkpoint."""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from must_tf.copies import fetched, named
from must_tf.errors import UserError
from must_tf.integrity import check_weights
from must_tf.parsing import short
from must_tf.saving import STUDENT, check_student, parts, read_architecture
from must_tf.student import Student
from must_tf.tasks import Task
from must_tf.trunk import Trunk

_EXPORTED = Path("savedmodel", "backbone", "variables", "variables")
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_LAYER = re.compile(r".*?backbone/layer[^/]*/")  # the beginning of a variable's key
_SLOT = ".OPTIMIZER_SLOT"


class Start(NamedTuple):
    """Weights to start from, as they were read.

    Attributes:
      parts: that are loaded: `backbone`; `decoder` where it is there and fits; `heads/TASK`.
      values: pairs of a variable of the student and its value.
      words: what is loaded, what is not, and why.
    """

    parts: list[str]
    values: list[tuple[tf.Variable, np.ndarray]]
    words: str

    def digest(self) -> str:
        """Returns a SHA-256 of the values."""
        found = hashlib.sha256()
        for _, value in self.values:
            found.update(np.ascontiguousarray(value).tobytes())
        return found.hexdigest()

    def take(self) -> None:
        """Loads the values into the student, and prints the words."""
        for variable, value in self.values:
            variable.assign(value)
        print(self.words, flush=True)


def load_trunk(student: Student, where: str | os.PathLike, keep_heads: bool = False) -> list[str]:
    """Loads backbone and pyramid into a student, and prints what was loaded, what was not, and why; see `read_start`.

    Returns:
      The parts that were loaded.
    """
    start = read_start(student, where, keep_heads)
    start.take()
    return start.parts


def read_start(student: Student, where: str | os.PathLike, keep_heads: bool = False) -> Start:
    """Reads backbone and pyramid for a student, which does not change yet.

    A backbone is loaded whole, or it is an error. A pyramid that the file lacks, or that does not fit, stays as it is.
    Model Garden's checkpoints fit the student's images: both normalize them alike.

    With `keep_heads` the heads of a finished run are loaded too: each task gets the head of the run's task of the same
    name and identity (classes, convention, ...), or of the run's only task of the same identity.

    Args:
      where: an export, a finished workdir, or a checkpoint of Model Garden's trainer: its prefix (`.../ckpt-1000`)
        or the folder of its `checkpoint` file.
      keep_heads: whether heads are loaded too, which only a finished run has.

    Raises:
      UserError: the backbone does not fit; or heads are to be kept, and there are none, or none fits.
    """
    where = fetched(where)
    if not is_checkpoint(where) and not where.is_file():
        check_trunk(student.architecture.trunk, read_architecture(where).trunk, where)
    prefix = weights_prefix(where)
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    if _GRAPH not in shapes:
        raise UserError(
            f"{where}: no checkpoint of TensorFlow 2's objects (TF1-style?); expected one by Model Garden 2"
        )
    trunk = {name: part for name, part in parts(student).items() if name != "heads"}
    keys = _keys(prefix, reader, trunk)
    taken: set[str] = set()
    values: list[tuple[tf.Variable, np.ndarray]] = []
    loaded, lines = [], []
    for name, part in trunk.items():
        problems = [line for v in part.variables if (line := _problem(v, keys.get(id(v)), shapes))]
        if problems and name == "backbone":
            raise UserError(
                f"{where}: backbone does not fit {student.architecture.trunk.backbone}: {problems[0]}"
                f" (and {len(problems) - 1} more); set trunk.backbone and trunk.width to those of the file"
            )
        if name == "backbone" and (more := _left_in_layers(set(keys.values()), shapes)):
            raise UserError(
                f"{where}: backbone does not fit {student.architecture.trunk.backbone}: its layers have {more[0]} "
                f"(and {len(more) - 1} more) in the file; make the trunk's fields, such as se_ratio, those of the file"
            )
        if problems:
            lines.append(f"{name}: not loaded, {len(problems)} of {len(part.variables)} variables do not fit:")
            lines += [f"  {line}" for line in problems[:5]] + ["  ..."] * (len(problems) > 5)
            continue
        values += [(variable, reader.get_tensor(keys[id(variable)])) for variable in part.variables]
        taken |= {keys[id(variable)] for variable in part.variables}
        loaded.append(name)
        lines.append(f"{name}: loaded, {len(part.variables)} variables")
    if keep_heads:
        kept = _read_heads(student, where, prefix, reader, shapes, values)
        loaded += [f"heads/{name}" for name, (_, keys_of_head) in kept.items() if keys_of_head]
        lines += [f"head of {name}: {line}" for name, (line, _) in kept.items()]
        taken |= {key for _, keys_of_head in kept.values() for key in keys_of_head}
    spare = Counter(key.split("/")[0] for key in shapes if key != _GRAPH and key not in taken)
    if spare:
        lines.append("not used: " + ", ".join(f"{name} ({count})" for name, count in sorted(spare.items())))
    return Start(sorted(loaded), values, "\n  ".join((f"{named(where)}:", *lines)))


def _read_heads(
    student: Student,
    where: str | os.PathLike,
    prefix: str,
    reader: Any,
    shapes: dict[str, list[int]],
    values: list[tuple[tf.Variable, np.ndarray]],
) -> dict[str, tuple[str, set[str]]]:
    """Adds the values of heads; returns, by task, what is loaded or why not, and the keys that were read."""
    if not Path(where, STUDENT).is_dir():
        raise UserError(f"keep_heads: {where} has no heads; expected init_from to be the folder of a finished run")
    have = read_architecture(where).tasks
    kept: dict[str, tuple[str, set[str]]] = {}
    for name, task in student.tasks.items():
        theirs, why = same_task(task, have)
        head = student.heads[name]
        keys = _keys(prefix, reader, {"heads": {theirs.name: head}}) if theirs else {}
        problems = [line for v in head.variables if (line := _problem(v, keys.get(id(v)), shapes))] if theirs else [why]
        if problems:
            more = f" (and {len(problems) - 1} more)" * (len(problems) > 1)
            kept[name] = f"not loaded: {problems[0]}{more}", set[str]()
            continue
        values += [(variable, reader.get_tensor(keys[id(variable)])) for variable in head.variables]
        source = f" from that of {theirs.name}" if theirs and theirs.name != name else ""
        kept[name] = f"loaded{source}, {len(head.variables)} variables", {keys[id(v)] for v in head.variables}
    if not any(keys for _, keys in kept.values()):
        why = "; ".join(f"{name}: {line}" for name, (line, _) in kept.items())
        raise UserError(f"keep_heads: none of the heads in {where} fits: {why}")
    return kept


def same_task(task: Task, have: Sequence[Task]) -> tuple[Task | None, str]:
    """Returns the task of `have` whose labels mean the same, or None and why there is none."""
    named = next((other for other in have if other.name == task.name), None)
    same = [other for other in have if other.identity == task.identity]
    if named in same:
        return named, ""
    if named:
        ours, theirs = task.identity, named.identity
        field = next(field for field in ("kind", *ours) if ours.get(field) != theirs.get(field))
        return None, f"its {field} is {short(theirs.get(field))} there, {short(ours.get(field))} here"
    if len(same) == 1:
        return same[0], ""
    if same:
        return None, f"{', '.join(one.name for one in same)} fit alike; name the task as one of them"
    return None, f"no task of that name or meaning is there; there are {', '.join(other.name for other in have)}"


def is_checkpoint(where: str | os.PathLike) -> bool:
    """Whether a path is a checkpoint of Model Garden's trainer (its prefix or its folder), and no run or export."""
    where = fetched(where)
    return Path(f"{where}.index").exists() or Path(where, "checkpoint").exists()


def weights_prefix(where: str | os.PathLike) -> str:
    """Returns the name that the files of the weights begin with: of an export, a finished workdir or a checkpoint.

    Raises:
      UserError: there are none, or they are not those that the export's card lists.
    """
    prefix = _find_prefix(fetched(where))
    check_weights(prefix)
    return prefix


def _find_prefix(where: str | os.PathLike) -> str:
    if Path(f"{where}.index").exists():
        return str(where)
    if Path(where, "checkpoint").exists():
        latest = tf.train.latest_checkpoint(str(where))
        if latest is None:
            raise UserError(f"{where}: its `checkpoint` file names no checkpoint that is there; give a prefix (ckpt-N)")
        return latest
    if Path(where).is_file():
        raise UserError(f"{where}: no checkpoint; give its prefix, without .index or .data-00000-of-00001")
    for prefix in (Path(where, STUDENT, "weights"), Path(where, _EXPORTED)):
        if prefix.with_suffix(".index").exists():
            check_student(where)
            return str(prefix)
    raise UserError(f"{where}: holds no weights of a trunk; export with --formats=savedmodel, or train to the end")


def check_trunk(want: Trunk, have: Trunk, where: str | os.PathLike) -> None:
    """Raises a `UserError` where a trunk's weights do not fit another."""
    for field in dataclasses.fields(Trunk):
        ours, theirs = getattr(want, field.name), getattr(have, field.name)
        if ours != theirs and field.name not in ("norm_momentum", "sync_norm", "stochastic_depth"):
            raise UserError(f"{where}: its trunk.{field.name} is {theirs!r}, the config's {ours!r}; make them equal")


def _keys(prefix: str, reader: Any, trunk: dict[str, Any]) -> dict[int, str]:
    """Returns the key in the file of each variable of the trunk, by id, as the two graphs of objects match."""
    graph = TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH))
    matched = tf.train.CheckpointView(prefix).match(tf.train.Checkpoint(**trunk))
    found = {}
    for node, value in matched.items():
        attributes = graph.nodes[node].attributes
        if len(attributes) == 1:
            found[id(value)] = attributes[0].checkpoint_key
    return found


def _left_in_layers(taken: set[str], shapes: dict[str, list[int]]) -> list[str]:
    """Returns the keys of variables that the file has more than we have, in the layers that we have."""
    layers = {found[0] for key in taken if (found := _LAYER.match(key))}
    spare = (key for key in shapes if key not in taken and _SLOT not in key)
    return sorted(key for key in spare if (found := _LAYER.match(key)) and found[0] in layers)


def _problem(variable: tf.Variable, key: str | None, shapes: dict[str, list[int]]) -> str:
    """Returns why a variable cannot be loaded; empty where it can."""
    if key is None or key not in shapes:
        return f"{variable.name} {variable.shape.as_list()} is absent in the file"
    if shapes[key] != variable.shape.as_list():
        return f"{variable.name}: {shapes[key]} in the file, {variable.shape.as_list()} here"
    return ""
