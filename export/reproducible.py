"""Makes exported files the same bytes in every process: no dates, no random ids, no counters in names."""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.saved_model.pywrap_saved_model.fingerprinting import CreateFingerprintDef

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # that a zip can hold
_METADATA = "metadata.json"  # of a .keras file
_GRADIENT = "_gradient_op_type"
_CONFIG = "config_proto"  # of the process that saved: its devices, threads and graph optimizers
_ARGUMENT = "_user_specified_name"  # of a captured variable it is a counter
_ONNX_COUNTER = re.compile(r"__(\d+)")  # Transpose__12, Conv2D__7:0
_COUNTED = re.compile(r"(.*?)(\d+)(\D*)")  # __inference_NAME_12, cond_true_34_rewritten, CustomGradient-56

Names = dict[Any, Any]  # new by former name, as text and as bytes


def clean_keras_file(path: Path) -> None:
    """Takes the dates out of a `.keras` file, and sorts its members."""
    dated = path.with_name(f"{path.name}.dated")
    path.rename(dated)
    with zipfile.ZipFile(dated) as source, zipfile.ZipFile(path, "w") as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == _METADATA:
                data = json.dumps({key: said for key, said in json.loads(data).items() if key != "date_saved"}).encode()
            target.writestr(zipfile.ZipInfo(name, _FIRST_DATE), data)
    dated.unlink()


def clean_saved_model(folder: Path) -> None:
    """Numbers the functions of a SavedModel from 0, and computes its fingerprint again, without a random id.

    TensorFlow ends names of functions and of custom gradients with a counter of all that its process has made, and
    writes the process's own settings into each call of a function: these become TensorFlow's defaults.
    """
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        names = _numbered(set(_counted_names(graph.graph_def)))
        _rename(graph, names | _arguments(graph.graph_def.library.function, names))
        for function in graph.graph_def.library.function:
            for argument in function.arg_attr.values():
                if _ARGUMENT in argument.attr and argument.attr[_ARGUMENT].s.isdigit():
                    del argument.attr[_ARGUMENT]
        for node in _nodes(graph.graph_def):
            if _CONFIG in node.attr:
                node.attr[_CONFIG].s = ConfigProto(allow_soft_placement=True).SerializeToString(deterministic=True)
        graph.graph_def.library.function.sort(key=lambda function: function.signature.name)
    path.write_bytes(model.SerializeToString(deterministic=True))
    fingerprint = FingerprintDef.FromString(CreateFingerprintDef(str(folder)))
    fingerprint.ClearField("uuid")
    (folder / "fingerprint.pb").write_bytes(fingerprint.SerializeToString(deterministic=True))


def clean_onnx_graph(graph: Any) -> None:
    """Numbers the nodes of an ONNX graph in their order, and calls its constants after the first node that takes them.

    tf2onnx ends names with a counter of all that its process has made, and of equal constants keeps any.
    """
    numbers: dict[str, int] = {}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    new = {value.name: value.name for value in (*graph.input, *graph.output)}
    used = []
    for node in graph.node:
        node.name = _ONNX_COUNTER.sub(lambda found: f"__{numbers.setdefault(found[1], len(numbers))}", node.name)
        for i, name in enumerate(node.output):
            new.setdefault(name, f"{node.name}:{i}")
        for i, name in enumerate(node.input):
            if name in constants and name not in new:
                new[name] = f"{node.name}/{i}"
                used.append(constants[name])
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for tensor in used:
        tensor.name = new[tensor.name]
    ordered = [type(tensor).FromString(tensor.SerializeToString()) for tensor in used]
    del graph.initializer[:]
    graph.initializer.extend(ordered)


def _nodes(graph: Any) -> Iterator[Any]:
    """Yields the nodes of a graph, then those of its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _counted_names(graph: Any) -> Iterator[str]:
    """Yields the names of a graph's functions, and those of their custom gradients."""
    for function in graph.library.function:
        yield function.signature.name
    for node in _nodes(graph):
        if _GRADIENT in node.attr:
            yield node.attr[_GRADIENT].s.decode()


def _numbered(names: set[str]) -> Names:
    """Returns the names with counters from 0, in their order."""
    counted = {name: match for name in names if (match := _COUNTED.fullmatch(name))}
    ranks = {counter: i for i, counter in enumerate(sorted({int(match[2]) for match in counted.values()}))}
    new = {name: f"{match[1]}{ranks[int(match[2])]}{match[3]}" for name, match in counted.items()}
    return new | {former.encode(): name.encode() for former, name in new.items()}


def _arguments(functions: Iterable[Any], names: Names) -> Names:
    """Returns new names of the arguments that are called after their function, as a loop's condition does."""
    return {
        argument.name: argument.name.replace(name, names[name])
        for function in functions
        if (name := function.signature.name) in names
        for argument in function.signature.input_arg
        if name in argument.name
    }


def _rename(message: Any, names: Names) -> None:
    """Replaces each text of a message, at any depth, that is one of the names."""
    if message.DESCRIPTOR.name == "TensorProto":
        return
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            _rename_map(field.message_type.fields_by_name["value"], value, names)
        elif field.message_type:
            for part in value if field.is_repeated else [value]:
                _rename(part, names)
        elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            if field.is_repeated:
                value[:] = [names.get(text, text) for text in value]
            else:
                setattr(message, field.name, names.get(value, value))


def _rename_map(kind: Any, entries: Any, names: Names) -> None:
    """Replaces keys and values of a map field whose values are of a `kind`."""
    if kind.message_type:
        for part in entries.values():
            _rename(part, names)
    if names.keys().isdisjoint(entries):
        return
    kept = {names.get(key, key): type(part).FromString(part.SerializeToString()) for key, part in entries.items()}
    entries.clear()
    for key, part in kept.items():
        entries[key].CopyFrom(part)
