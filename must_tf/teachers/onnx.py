"""ONNX models as teachers, `onnx:FILE`, run by onnxruntime (extra `onnx`)."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from must_tf import storage
from must_tf.errors import UserError, one_line
from must_tf.tasks.reader import Slot
from must_tf.teachers.inputs import image_input
from must_tf.teachers.model import Model, optional, require_file

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxModel(Model):
    """An ONNX model; it runs on a GPU if onnxruntime has one."""

    format = "onnx"
    packages = ("onnxruntime",)
    takes_several = True

    def __init__(self, path: str):
        require_file(f"onnx:{path}", path)
        runtime = optional("onnxruntime", "onnx")
        self.path = path
        providers = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # it also logs the errors that it raises
        try:
            self._session = runtime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # onnxruntime's errors have no other common base
            _check_weights(path)
            raise UserError(
                f"onnx:{path}: onnxruntime {runtime.__version__} cannot load it: {one_line(error)}"
            ) from error
        self.inputs = tuple(_slot(value) for value in self._session.get_inputs())
        self.metadata = self._session.get_modelmeta().custom_metadata_map
        for slot in (*self.inputs, *self.outputs()):
            if slot.dtype == "bfloat16":
                raise UserError(f"onnx:{path}: {slot}: onnxruntime exchanges no bfloat16; export float16 or float32")

    def outputs(self) -> tuple[Slot, ...]:
        """Returns the outputs of the graph."""
        return tuple(_slot(value) for value in self._session.get_outputs())

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the graph."""
        return self.predict_all({self.inputs[0].name: images})

    def predict_all(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the graph on all inputs."""
        names = [value.name for value in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(arrays)), strict=True))

    def channels_first(self) -> bool | None:
        """Follows the image to the first convolution, which takes channels first, unless it is transposed before."""
        if Path(self.path).suffix == ".ort":
            return None
        onnx = optional("onnx", "onnx")
        return reaches_convolution(onnx.load(self.path, load_external_data=False).graph, image_input(self).name)

    def sha256(self) -> str:
        """Returns the digest of the file, or with external weights, of the digests of all files."""
        digests = [storage.sha256(part) for part in (Path(self.path), *_weights(self.path))]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _check_weights(path: str) -> None:
    """Raises a `UserError` if a file of external weights is missing or cut short; onnxruntime need not name it."""
    for file, needed in _weights(path).items():
        size = file.stat().st_size if file.is_file() else None
        if size is None or size < needed:
            found = "is missing" if size is None else f"has {size:,} bytes of {needed:,}"
            raise UserError(f"onnx:{path}: its weights {file}: the file {found}; copy it whole")


def _weights(path: str) -> dict[Path, int]:
    """Returns the files of a model's external weights, with the bytes that each has at least."""
    if Path(path).suffix == ".ort":  # onnxruntime's own format holds all weights
        return {}
    onnx = optional("onnx", "onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:  # it is no model, as onnxruntime will say
        return {}
    found: dict[str, int] = {}
    for tensor in (tensor for part in (model.graph, *model.functions) for tensor in _tensors(part)):
        if onnx.external_data_helper.uses_external_data(tensor):
            info = onnx.external_data_helper.ExternalDataInfo(tensor)
            end = int(info.offset or 0) + int(info.length or 0)
            found[info.location] = max(found.get(info.location, 0), end)
    return {Path(path).parent / name: found[name] for name in sorted(found)}


def _tensors(graph: Any) -> Iterator[Any]:
    """Yields the tensors of a graph or function, including those of nested graphs."""
    yield from getattr(graph, "initializer", ())
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def reaches_convolution(graph: Any, name: str) -> bool | None:
    """Returns whether an input of a graph reaches a convolution with its axes in order.

    Args:
      graph: an ONNX GraphProto.
      name: of the input.

    Returns:
      False if its axes are transposed from [batch, h, w, C] first; None if no convolution is found.
    """
    reached, transposed = {name}, False
    for node in graph.node:  # in the order of their dependencies
        if not reached & {*node.input[:1], *(node.input if node.op_type in ("Sub", "Mul", "Add", "Div") else ())}:
            continue
        if node.op_type == "Conv":
            return not transposed
        if node.op_type == "Transpose":
            order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
            transposed |= order == [0, 3, 1, 2]
        reached |= {*node.output}
    return None


def _slot(value) -> Slot:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape) or (None,)
    return Slot(value.name, shape, _DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")")))
