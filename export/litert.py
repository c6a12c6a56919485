"""Format `litert` (LiteRT, formerly TensorFlow Lite): float32, float16 and int8 weights, at one image size."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.export import endpoints
from must_tf.export.format import Card, Format
from must_tf.export.images import MADE, Images
from must_tf.export.parity import MEAN, Bound, Runner
from must_tf.export.savedmodel import weights
from must_tf.geometry import Size
from must_tf.runtime.tracing import plain
from must_tf.student import Student

PRECISIONS = ("float32", "float16", "int8")
# In a rounded network the largest error is that of one pixel at the border of two classes, so the mean is bounded.
# float16 keeps 11 bits: each layer adds an error of about 1/2000 of its values. An int8 file off by a fifth is useless.
BOUNDS = {"float16": Bound(0.005, MEAN), "int8": Bound(0.2, MEAN)}
_SNIPPET = """
## Load it: LiteRT

Each call takes one image of {litert_height}x{litert_width}, in float32. `litert/student.*` gives the outputs of the
tasks, decoded. `int8` computes in whole numbers inside, and was calibrated on {litert_calibration}.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

image = np.zeros([1, {litert_height}, {litert_width}, 3], "float32")  # {pixels}
run = Interpreter("litert/backbone.int8.tflite").get_signature_runner("serving_default")
features = run(images=image)  # {features}
```
"""


class LiteRT(Format):
    """LiteRT models of backbone and student, each in three precisions; boxes are decoded and suppressed inside."""

    name = "litert"
    parts = tuple(f"{part}.{precision}" for part in (endpoints.BACKBONE, endpoints.STUDENT) for precision in PRECISIONS)
    snippet = _SNIPPET

    def path(self, part: str) -> str:
        """Returns where a part lies in an export."""
        return f"litert/{part}.tflite"

    def require(self) -> None:
        """Raises a `UserError` unless all packages of the format are installed."""
        _interpreter()

    def bound(self, part: str) -> Bound:
        """Returns how far a part may be from the student."""
        return BOUNDS.get(part.partition(".")[2], Bound())

    def sizes(self, facts: Card) -> list[Size]:
        """Returns the only height and width that the files take."""
        height, width = facts["litert"]["size"]
        return [(height, width)]

    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes one part in one precision.

        Args:
          student: what is exported.
          part: `backbone.float32`, ..., `student.int8`.
          where: the `.tflite` file.
          facts: `litert` has `size`, and how many `images` int8 is calibrated on.
          images: what it is calibrated on.
        """
        endpoint, _, precision = part.partition(".")
        module = weights(student, endpoint)
        signature = [tf.TensorSpec([1, *facts["litert"]["size"], 3], tf.float32, name="images")]
        function = endpoints.outputs(student, endpoint, self.name, facts["normalization"]["inside"])
        module.serve = tf.function(plain(function), signature)  # the converter looks for weights behind the module
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
        converter.allow_custom_ops = True  # such as the suppression of boxes, which runtimes bring
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = lambda: _calibration(facts, images)
            # Operations that have no int8 (a sigmoid's exp, say) stay float32.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(converter.convert())

    def load(self, where: Path) -> Runner:
        """Returns a file as ai-edge-litert runs it, image by image."""
        signature = _interpreter().Interpreter(model_path=str(where)).get_signature_runner("serving_default")

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            each = [signature(images=image[np.newaxis]) for image in images.astype(np.float32)]
            return {name: np.concatenate([found[name] for found in each]) for name in each[0]}

        return run


def _calibration(facts: Card, images: Images) -> Iterator[list[np.ndarray]]:
    """Yields the images that tell the converter the range of each value, one by one."""
    height, width = facts["litert"]["size"]
    taken = images.take(facts["litert"]["images"], (height, width))
    for image in endpoints.as_input(taken, facts["normalization"]):
        yield [image[np.newaxis]]


def _interpreter() -> ModuleType:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise UserError(
            "format litert needs ai-edge-litert, which is not installed; pip install 'must_tf[litert]'"
        ) from None
