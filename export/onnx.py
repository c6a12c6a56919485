"""Format `onnx`: for ONNX Runtime and others; box decoding and non-maximum suppression are inside."""

import contextlib
import importlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.export import endpoints, lineage, reproducible
from must_tf.export.format import Card, Format
from must_tf.export.images import MADE, Images
from must_tf.export.parity import Runner
from must_tf.runtime.tracing import plain
from must_tf.student import Student

OPSET = 17  # tf2onnx 1.17 refuses 19 and later
_SNIPPET = """
## Load it: ONNX Runtime

`onnx/backbone.onnx` gives {features}. `onnx/student.onnx` gives the outputs of the tasks, decoded, and boxes after
non-maximum suppression. `onnx/heads.onnx` lacks those that need suppression. All take float32. What is left out of a
file stands under "Outputs" above.

```python
import numpy as np
import onnxruntime

images = np.zeros([1, {height}, {width}, 3], "float32")  # {pixels}
session = onnxruntime.InferenceSession("onnx/student.onnx", providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(None, {{"images": images}})))  # by name, as above
```
"""


class Onnx(Format):
    """ONNX models of backbone, heads and student, with dynamic batch, height and width, and axes with names."""

    name = "onnx"
    parts = endpoints.PARTS
    snippet = _SNIPPET

    def path(self, part: str) -> str:
        """Returns where a part lies in an export."""
        return f"onnx/{part}.onnx"

    def require(self) -> None:
        """Raises a `UserError` unless all packages of the format are installed."""
        for name in ("onnx", "tf2onnx", "onnxruntime"):
            _module(name)

    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes one part; facts name the axes, and go into `metadata_props`."""
        onnx, tf2onnx = _module("onnx"), _module("tf2onnx")
        function = endpoints.outputs(student, part, self.name, facts["normalization"]["inside"])
        with _quiet("tf2onnx"):
            model, _ = tf2onnx.convert.from_function(
                tf.function(plain(function), endpoints.SIGNATURE), endpoints.SIGNATURE, opset=OPSET
            )
        reproducible.clean_onnx_graph(model.graph)
        _name_axes(model.graph, facts["outputs"][part])
        model.graph.name = part
        model.graph.doc_string = ""
        onnx.helper.set_model_props(model, metadata(facts))
        onnx.checker.check_model(model)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(model.SerializeToString(deterministic=True))

    def load(self, where: Path) -> Runner:
        """Returns an ONNX model as onnxruntime runs it on the CPU."""
        session = _module("onnxruntime").InferenceSession(str(where), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            return dict(zip(names, session.run(None, {"images": images.astype(np.float32)}), strict=True))

        return run


def metadata(card: Card) -> dict[str, str]:
    """Returns what an ONNX file says of itself: lines of text, and JSON where a value has parts."""
    classes = {task["name"]: task["class_names"] for task in card["tasks"] if "class_names" in task}
    parts = {"tasks": {task["name"]: task["kind"] for task in card["tasks"]}, "classes": classes}
    parts |= {key: card[key] for key in ("levels", "trunk", "normalization")}
    said = {key: card[key] for key in ("must_tf", "name", "weights_sha256", "input")}
    said |= {key: json.dumps(value) for key, value in parts.items()}
    return said | {"license": "; ".join(lineage.lines(card["lineage"]))}


def _name_axes(graph, shapes: endpoints.Shapes) -> None:
    """Gives axes their names; tf2onnx calls them unk__N."""
    inputs = [value.name for value in graph.input]
    if inputs != ["images"]:
        # A tensor made outside the traced function becomes an input that users would have to feed.
        raise RuntimeError(f"the traced function captured tensors that are now inputs of the ONNX model: {inputs}")
    shapes = {"images": ["batch", "height", "width", 3]} | shapes
    for value in (*graph.input, *graph.output):
        for dim, axis in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
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
