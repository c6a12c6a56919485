"""Ops that run when some functions or nodes of a TensorFlow graph are run, nested functions included.

Works on protocol buffers; nothing is loaded. Where it is not certain that an op is left out, the op counts as reached.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry

from must_tf.teachers import trusted_ops

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # pass their inputs on as they are
_READERS = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1, "RestoreV2": 0}  # → the file's input
_STREAMS = (b"stderr", b"stdout", b"log(info)", b"log(warning)", b"log(error)")  # of PrintV2, which takes files too

# A function's name, and the positions of those of its arguments that can only be files of the model itself.
Call = tuple[str, frozenset[int]]


@dataclasses.dataclass
class Body:
    """Nodes that run together.

    Attributes:
      nodes: name → NodeDef, of the graph or function.
      run: those that run.
      own: the tensors that are names of files of the model itself.
    """

    nodes: dict[str, Any]
    run: list[Any]
    own: frozenset[str]

    def is_own(self, tensor: str) -> bool:
        """Returns whether a tensor can only be the name of a file of the model itself."""
        seen: set[str] = set()
        while tensor.removesuffix(":0") not in self.own:
            name = tensor.partition(":")[0]
            if name in seen or name not in self.nodes or self.nodes[name].op != "Identity":
                return False
            seen.add(name)
            tensor = next(iter(self.nodes[name].input), "")
        return True

    def untrusted(self) -> set[str]:
        """Returns the ops that are not trusted."""
        return {node.op for node in self.run if not self._trusts(node)}

    def _trusts(self, node: Any) -> bool:
        if node.op in _READERS:
            inputs = tensors(node)
            return len(inputs) > _READERS[node.op] and self.is_own(inputs[_READERS[node.op]])
        if node.op == "PrintV2":
            return "output_stream" not in node.attr or node.attr["output_stream"].s in _STREAMS
        return node.op in trusted_ops.TRUSTED


class Library:
    """The functions of a graph.

    Args:
      definitions: FunctionDef protocol buffers; no two of a name.
    """

    def __init__(self, definitions: Iterable[Any]):
        self._functions = {function.signature.name: function for function in definitions}
        self._twins: dict[bytes, list[str]] = {}  # TensorFlow may run one in place of the other
        for name, function in self._functions.items():
            if "api_implements" in function.attr:
                self._twins.setdefault(function.attr["api_implements"].s, []).append(name)

    def num_inputs(self, name: str) -> int:
        """Returns how many arguments a function takes; 0 of one that is not there."""
        return len(self._functions[name].signature.input_arg) if name in self._functions else 0

    def untrusted(self, calls: Iterable[Call]) -> set[str]:
        """Returns the ops, in called functions and those that they call, that are not trusted."""
        found: dict[str, frozenset[int]] = {}
        waiting = list(calls)
        while waiting:
            name, own = waiting.pop()
            own = own & found.get(name, own)  # of all calls
            if name in self._functions and found.get(name) != own:
                found[name] = own
                waiting += [*self._calls(self._body(name, own)), *self._named_by(name)]
        ops = set().union(*(self._body(name, own).untrusted() for name, own in found.items()))
        return ops - set(self._functions)

    def untrusted_of(self, body: Body) -> set[str]:
        """Returns the ops, in nodes and what they call, that are not trusted."""
        return (body.untrusted() | self.untrusted(self._calls(body))) - set(self._functions)

    def evaluated(self) -> set[str]:
        """Returns what `evaluated` says of all functions, called or not."""
        return set().union(*(evaluated(function.node_def) for function in self._functions.values()))

    def _calls(self, body: Body) -> Iterator[Call]:
        for node in body.run:
            own: frozenset[int] = frozenset()
            if node.op in _CALLS or node.op in self._functions:
                own = frozenset(i for i, name in enumerate(tensors(node)) if body.is_own(name))
                yield node.op, own
            for value in node.attr.values():
                yield from ((name, own) for name in _functions_in(value))

    def _named_by(self, name: str) -> Iterator[Call]:
        """Yields the functions in the attributes of a function."""
        function = self._functions[name]
        for value in [*function.attr.values(), *(attr.default_value for attr in function.signature.attr)]:
            yield from ((called, frozenset()) for called in _functions_in(value))
        if "api_implements" in function.attr:
            yield from ((twin, frozenset()) for twin in self._twins[function.attr["api_implements"].s] if twin != name)

    def _body(self, name: str, own: frozenset[int]) -> Body:
        function = self._functions[name]
        arguments = function.signature.input_arg
        if any(argument.number_attr or argument.type_list_attr for argument in arguments):
            own = frozenset()  # an argument is several inputs
        nodes = {node.name: node for node in function.node_def}
        return Body(nodes, list(function.node_def), frozenset(arguments[i].name for i in own if i < len(arguments)))


def evaluated(nodes: Iterable[Any]) -> set[str]:
    """Returns the untrusted ops that TensorFlow may run when it only builds a graph of the nodes.

    It infers shapes, and for these the values of what depends on constants alone. It spares stateful ops and functions.
    """
    ops = {node.op for node in nodes} - trusted_ops.TRUSTED - {*_READERS}
    found = {op: op_def_registry.get(op) for op in ops}
    return {op for op, definition in found.items() if definition and not definition.is_stateful}


def tensors(node: Any) -> list[str]:
    """Returns the inputs of a node without the control inputs."""
    return [name for name in node.input if not name.startswith("^")]


def upstream(nodes: dict[str, Any], ends: Iterable[str], fed: frozenset[str]) -> list[Any]:
    """Returns the nodes of a graph that run so that some tensors or nodes are there.

    Args:
      nodes: name → NodeDef.
      ends: names, as `x`, `x:1` or `^x`.
      fed: tensors that are given, as `x` for the first output of x, `x:1` for its second; what makes them does not run.
    """
    found: dict[str, Any] = {}
    waiting = list(ends)
    while waiting:
        tensor = waiting.pop()
        name = tensor.removeprefix("^").partition(":")[0]
        if tensor.removesuffix(":0") not in fed and name in nodes and name not in found:
            found[name] = nodes[name]
            waiting += nodes[name].input
    return list(found.values())


def _functions_in(value: Any) -> Iterator[str]:
    """Yields the names of the functions in an attribute, and in those of these functions."""
    for function in [*([value.func] if value.HasField("func") else []), *value.list.func]:
        yield function.name
        for inner in function.attr.values():
            yield from _functions_in(inner)
