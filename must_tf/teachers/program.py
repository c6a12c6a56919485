"""Checks which ops a SavedModel would run, before TensorFlow loads it: a SavedModel is a program.

Only its protocol buffer is read. Two parts of it count: what `tf.saved_model.load` runs by itself, as initializers of
tables, and the one signature that is called. Each op in them must be in `trusted_ops`, or allowed by the user. An op
that reads a file also counts as trusted where the file can only be the SavedModel's own: its variables, or one of
`assets/`.

The check stops models that use files, network or Python. It is no sandbox: a crafted model may still find a defect of
TensorFlow.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from must_tf.errors import UserError, nearest
from must_tf.teachers import trusted_ops
from must_tf.teachers.model import require_content
from must_tf.teachers.reachable_ops import Body, Call, Library, evaluated, upstream

USUAL = "serving_default"
_MOST_BYTES = 2**31 - 1  # of a protocol buffer


def check(path: str, signature: str | None, allow: Iterable[str] = ()) -> str:
    """Checks a SavedModel without loading it.

    Args:
      path: its folder.
      signature: the name of the function that will be called; None takes the usual one, else the first.
      allow: names of ops that it may use beside the trusted ones.

    Returns:
      The name of the signature.

    Raises:
      UserError: saved_model.pb is missing, damaged or too large; there is no such signature; an op that it would run
        is neither trusted nor allowed.
    """
    where = f"savedmodel:{path}"
    graph = _read(where, Path(path, "saved_model.pb"))
    program: _Program = _Objects(graph, path) if graph.HasField("object_graph_def") else _Graph(graph, path)
    signature = _choose(where, signature, program.signatures())
    called = program.untrusted_in_signature(signature) - {*allow}
    loaded = program.untrusted_in_loading() - {*allow} - called
    if called or loaded:
        parts = {f"its signature {signature!r}": called, "what TensorFlow runs to load it": loaded}
        uses = "; ".join(f"{part} uses {_explain(sorted(ops))}" for part, ops in parts.items() if ops)
        remedy = f"allow it with --allow_ops={','.join(sorted(called | loaded))} if you trust where it comes from"
        raise UserError(_one_line(f"{where}: {uses}; a SavedModel is a program: {remedy}"))
    return signature


def _read(where: str, file: Path) -> Any:
    """Returns the MetaGraphDef of a SavedModel."""
    if not file.is_file():
        raise UserError(f"{where}: no saved_model.pb in it; expected the folder of a SavedModel")
    require_content(where, file)
    if (size := file.stat().st_size) > _MOST_BYTES:
        raise UserError(f"{where}: saved_model.pb has {size} bytes, of which TensorFlow reads {_MOST_BYTES}")
    model = _parse(where, saved_model_pb2.SavedModel, file.read_bytes())
    if len(model.meta_graphs) != 1:
        raise UserError(f"{where}: saved_model.pb holds {len(model.meta_graphs)} graphs; expected one, for serving")
    graph = model.meta_graphs[0]
    functions = graph.graph_def.library.function
    for nodes in (graph.graph_def.node, *(function.node_def for function in functions)):
        _check_once(where, "node", (node.name for node in nodes))
    _check_once(where, "function", (function.signature.name for function in functions))
    return graph


def _parse(where: str, kind: Any, value: bytes) -> Any:
    """Returns a protocol buffer of a type."""
    try:
        return kind.FromString(value)
    except DecodeError:
        raise UserError(f"{where}: saved_model.pb is damaged; copy or export the model again") from None


def _check_once(where: str, what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{where}: saved_model.pb holds the {what} {name[:100]!r} twice; export the model again")
        seen.add(name)


def _choose(where: str, signature: str | None, known: set[str]) -> str:
    if signature is None:
        signature = USUAL if USUAL in known or not known else min(known)
    if signature not in known:
        have = nearest(signature, known) if known else "it has none: save it with signatures="
        raise UserError(_one_line(f"{where}: no signature {signature!r}; {have}"))
    return signature


def _explain(ops: list[str]) -> str:
    said = [f"{op}, which {trusted_ops.reason(op) or 'must_tf does not know'}" for op in ops[:3]]
    return ", and ".join([*said, *([f"{len(ops) - 3} more"] if len(ops) > 3 else [])])


def _one_line(text: str) -> str:
    """Returns text with names out of a file, which may hold anything."""
    return "".join(character if character.isprintable() else "?" for character in text)


class _Program(Protocol):
    """What is asked of a SavedModel."""

    def signatures(self) -> set[str]:
        """Returns the names of its signatures."""

    def untrusted_in_signature(self, name: str) -> set[str]:
        """Returns the ops of a signature that are not trusted."""

    def untrusted_in_loading(self) -> set[str]:
        """Returns the ops that `tf.saved_model.load` runs and that are not trusted."""


class _Objects:
    """A SavedModel of TensorFlow 2: a graph of objects, whose functions are in the library.

    While it loads, TensorFlow calls methods of these objects by name, and a SavedModel may replace any of them. Of
    objects that only hold others, the names of all such methods start with an underscore.
    """

    _HOLDERS = (
        "_generic_user_object", "signature_map", "trackable_dict_wrapper", "trackable_list_wrapper",
        "trackable_tuple_wrapper",
    )  # fmt: skip

    def __init__(self, graph: Any, path: str):
        self._objects = graph.object_graph_def.nodes
        self._concrete = graph.object_graph_def.concrete_functions
        self._library = Library(graph.graph_def.library.function)
        self._own = [_is_own(path, asset.filename) for asset in graph.asset_file_def]

    def signatures(self) -> set[str]:
        """Returns the names of its signatures."""
        return {name for name, _ in self._signatures()}

    def untrusted_in_signature(self, name: str) -> set[str]:
        """Returns the ops of a signature that are not trusted."""
        return self._library.untrusted(self._calls(found for known, found in self._signatures() if known == name))

    def untrusted_in_loading(self) -> set[str]:
        """Returns the ops that `tf.saved_model.load` runs and that are not trusted."""
        return self._library.untrusted(self._calls(self._run_by_loading())) | self._library.evaluated()

    def _signatures(self) -> Iterator[tuple[str, int]]:
        for child in self._objects[0].children if self._objects else ():
            if child.local_name == "signatures" and child.node_id < len(self._objects):
                yield from ((one.local_name, one.node_id) for one in self._objects[child.node_id].children)

    def _run_by_loading(self) -> Iterator[int]:
        for one in self._objects:
            holder = self._is_holder(one)
            for child in (*one.children, *one.dependencies):
                trace = one.HasField("function") and child.local_name.startswith("trace_")
                if child.local_name.startswith("_") or not (holder or trace):
                    yield child.node_id
            for saved in one.saveable_objects.values():
                yield from (saved.save_function, saved.restore_function)

    def _is_holder(self, one: Any) -> bool:
        identifier = one.user_object.identifier
        known = identifier in self._HOLDERS or identifier.startswith("_tf_keras_")
        return one.HasField("user_object") and known and not one.registered_name

    def _calls(self, indices: Iterable[int]) -> Iterator[Call]:
        for index in indices:
            one = self._objects[index] if 0 <= index < len(self._objects) else None
            if one and one.HasField("function"):
                yield from map(self._call, one.function.concrete_functions)
            elif one and one.HasField("bare_concrete_function"):
                yield self._call(one.bare_concrete_function.concrete_function_name)

    def _call(self, name: str) -> Call:
        """Returns the call of a function, whose last arguments are the objects that it is bound to."""
        bound = self._concrete[name].bound_inputs if name in self._concrete else []
        first = self._library.num_inputs(name) - len(bound)
        return name, frozenset(first + i for i, index in enumerate(bound) if self._is_own_asset(index))

    def _is_own_asset(self, index: int) -> bool:
        one = self._objects[index] if 0 <= index < len(self._objects) else None
        if one is None or not one.HasField("asset"):
            return False
        position = one.asset.asset_file_def_index
        return 0 <= position < len(self._own) and self._own[position]


class _Graph:
    """A SavedModel of TensorFlow 1: one graph, of which a signature names inputs and outputs."""

    _INITIALIZER = "__saved_model_init_op"  # stands among the signatures, and is none
    _INITIALIZERS = ("saved_model_main_op", "legacy_init_op", "table_initializer", "local_resources")  # collections

    def __init__(self, graph: Any, path: str):
        self._graph = graph
        self._path = path
        self._nodes = {node.name: node for node in graph.graph_def.node}
        self._library = Library(graph.graph_def.library.function)

    def signatures(self) -> set[str]:
        """Returns the names of its signatures."""
        return {*self._graph.signature_def} - {self._INITIALIZER}

    def untrusted_in_signature(self, name: str) -> set[str]:
        """Returns the ops of a signature that are not trusted."""
        signature = self._graph.signature_def[name]
        return self._untrusted(_names(signature.outputs), _names(signature.inputs), [])

    def untrusted_in_loading(self) -> set[str]:
        """Returns the ops that `tf.saved_model.load` runs and that are not trusted."""
        assets = {asset.tensor_info.name: asset.filename for asset in self._assets()}
        own = [name for name, filename in assets.items() if _is_own(self._path, filename)]
        saver = self._graph.saver_def
        variables = [saver.filename_tensor_name]
        return (
            self._untrusted(self._initializers(), assets, own)
            | self._untrusted([saver.restore_op_name], variables, variables)
            | evaluated(self._nodes.values())
            | self._library.evaluated()
        )

    def _untrusted(self, ends: Iterable[str], fed: Iterable[str], own: Iterable[str]) -> set[str]:
        """Returns the ops that are not trusted of those that run for some tensors, of which others are fed."""
        run = upstream(self._nodes, ends, frozenset(name.removesuffix(":0") for name in fed))
        return self._library.untrusted_of(Body(self._nodes, run, frozenset(name.removesuffix(":0") for name in own)))

    def _initializers(self) -> Iterator[str]:
        yield from _names(self._graph.signature_def[self._INITIALIZER].outputs)
        for key in self._INITIALIZERS:
            yield from self._graph.collection_def[key].node_list.value
        for text in self._graph.collection_def["local_variables"].bytes_list.value:
            yield _parse(f"savedmodel:{self._path}", variable_pb2.VariableDef, text).initializer_name

    def _assets(self) -> Iterable[Any]:
        """Returns the files that the loader gives to tensors; the last one counts of those for one tensor."""
        if self._graph.asset_file_def:
            return self._graph.asset_file_def
        packed = self._graph.collection_def["saved_model_assets"].any_list.value
        return [_parse(f"savedmodel:{self._path}", meta_graph_pb2.AssetFileDef, one.value) for one in packed]


def _names(infos: Any) -> Iterator[str]:
    """Yields the tensors in a map of TensorInfo."""
    for info in infos.values():
        sparse = info.coo_sparse
        yield from filter(None, (info.name, *(getattr(sparse, field.name) for field in sparse.DESCRIPTOR.fields)))
        yield from _names(dict(enumerate(info.composite_tensor.components)))


def _is_own(path: str, filename: str) -> bool:
    """Returns whether an asset is inside the folder of the assets, links followed."""
    if "\0" in filename or "://" in filename:
        return False
    assets = Path(path, "assets").resolve()
    return (assets / filename).resolve().is_relative_to(assets)
