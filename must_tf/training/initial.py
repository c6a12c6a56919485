"""Loads the weights that a run starts from (`init_from`): the trunk of an export, a finished run, or a checkpoint."""

import dataclasses
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from must_tf.errors import UserError
from must_tf.integrity import check_weights
from must_tf.saving import STUDENT, check_student, parts, read_architecture
from must_tf.student import Student
from must_tf.trunk import Trunk

_EXPORTED = Path("savedmodel", "backbone", "variables", "variables")
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_LAYER = re.compile(r".*?backbone/layer[^/]*/")  # the beginning of a variable's key
_SLOT = ".OPTIMIZER_SLOT"


def load_trunk(student: Student, where: str | os.PathLike) -> list[str]:
    """Loads backbone and pyramid into a student, and prints what was loaded, what was not, and why.

    A backbone is loaded whole, or it is an error. A pyramid that the file lacks, or that does not fit, stays as it is.
    Model Garden's checkpoints fit the student's images: both normalize them alike.

    Args:
      where: an export, a finished workdir, or a checkpoint of Model Garden's trainer: its prefix (`.../ckpt-1000`)
        or the folder of its `checkpoint` file.

    Returns:
      The parts that were loaded: `backbone`, and `decoder` where it is there and fits.
    """
    if not is_checkpoint(where) and not Path(where).is_file():
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
        for variable in part.variables:
            variable.assign(reader.get_tensor(keys[id(variable)]))
        taken |= {keys[id(variable)] for variable in part.variables}
        loaded.append(name)
        lines.append(f"{name}: loaded, {len(part.variables)} variables")
    spare = Counter(key.split("/")[0] for key in shapes if key != _GRAPH and key not in taken)
    if spare:
        lines.append("not used: " + ", ".join(f"{name} ({count})" for name, count in sorted(spare.items())))
    print(f"{where}:", *lines, sep="\n  ", flush=True)
    return sorted(loaded)


def is_checkpoint(where: str | os.PathLike) -> bool:
    """Whether a path is a checkpoint of Model Garden's trainer (its prefix or its folder), and no run or export."""
    return Path(f"{where}.index").exists() or Path(where, "checkpoint").exists()


def weights_prefix(where: str | os.PathLike) -> str:
    """Returns the name that the files of the weights begin with: of an export, a finished workdir or a checkpoint.

    Raises:
      UserError: there are none, or they are not those that the export's card lists.
    """
    prefix = _find_prefix(where)
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
