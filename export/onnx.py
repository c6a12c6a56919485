"""ONNX, for onnxruntime and all that reads it; box decoding and non-maximum suppression are inside."""

import contextlib
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.export import card, endpoints
from must_tf.export.parity import Runner
from must_tf.student import Student

PARTS = endpoints.PARTS
OPSET = 17  # tf2onnx 1.17 refuses 19 and later
SNIPPET = """
## Load it: ONNX Runtime

`onnx/backbone.onnx` gives {features}; `onnx/heads.onnx` all tasks but boxes; `onnx/student.onnx` all tasks, with box
decoding and non-maximum suppression inside. They take float32.

```python
import numpy as np
import onnxruntime

images = np.zeros([1, {height}, {width}, 3], "float32")  # {pixels}
session = onnxruntime.InferenceSession("onnx/student.onnx", providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(None, {{"images": images}})))  # by name, as above
```
"""


def path(part: str) -> str:
    """Returns where a part lies in an export."""
    return f"onnx/{part}.onnx"


def require() -> None:
    """Raises a `UserError` unless all that this format needs is installed."""
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        _module(name)


def write(student: Student, part: str, file: Path, facts: card.Card) -> None:
    """Writes one part as an ONNX model: dynamic batch, height and width, axes with names.

    Args:
      student: what to convert.
      part: `backbone`, `heads` or `student`.
      file: the `.onnx` file.
      facts: name the axes, and go into `metadata_props`.
    """
    onnx, tf2onnx = _module("onnx"), _module("tf2onnx")
    traced = tf.function(endpoints.outputs(student, part, facts["normalization"]["inside"]), endpoints.SIGNATURE)
    with _quiet("tf2onnx"):
        model, _ = tf2onnx.convert.from_function(traced, endpoints.SIGNATURE, opset=OPSET)
    _name_axes(model.graph, facts["outputs"][part])
    model.graph.name = part
    model.graph.doc_string = ""
    onnx.helper.set_model_props(model, card.metadata(facts))
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString())


def load(file: Path) -> Runner:
    """Returns an ONNX model as onnxruntime runs it on the CPU."""
    session = _module("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(None, {"images": images.astype(np.float32)}), strict=True))

    return run


def _name_axes(graph, shapes: endpoints.Shapes) -> None:
    """Gives axes their names; tf2onnx calls them unk__N."""
    inputs = [value.name for value in graph.input]
    if inputs != ["images"]:
        # A tensor made outside the traced function becomes an input that users would have to feed.
        raise RuntimeError(f"the traced function captured tensors that are now inputs of the ONNX model: {inputs}")
    for value in (*graph.input, *graph.output):
        axes = shapes.get(value.name, ["batch", "height", "width", 3])
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes, strict=True):
            if isinstance(axis, str):
                dim.dim_param = axis
            else:
                dim.dim_value = axis
    del graph.value_info[:]


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"format onnx needs {name}, which is not installed; pip install 'must_tf[onnx]'") from None


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
