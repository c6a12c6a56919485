"""LiteRT (TensorFlow Lite): float32, float16 and int8 weights, at one size, for phones and other small machines.

`backbone` and `heads` are written, each in three precisions. Boxes are left out: LiteRT has no non-maximum suppression
over classes.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.export import card, endpoints
from must_tf.export.images import made_images, record_images
from must_tf.export.parity import MEAN, Bound, Runner
from must_tf.export.savedmodel import weights
from must_tf.student import Student

PRECISIONS = ("float32", "float16", "int8")
PARTS = tuple(f"{part}.{precision}" for part in (endpoints.BACKBONE, endpoints.HEADS) for precision in PRECISIONS)
# The largest error of a rounded network is that of one pixel at the border of two classes; the mean says what a user
# gets. float16 keeps 11 bits, so errors are near 1/2000 of the values, a layer; an int8 file off by a fifth is no use.
BOUNDS = {"float16": Bound(0.005, MEAN), "int8": Bound(0.2, MEAN)}
SNIPPET = """
## Load it: LiteRT

One image of {litert_height}x{litert_width} at a time. `int8` computes in whole numbers, and takes and gives float32
too; it was calibrated on {litert_calibration}.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

image = np.zeros([1, {litert_height}, {litert_width}, 3], "float32")  # {pixels}
run = Interpreter("litert/backbone.int8.tflite").get_signature_runner("serving_default")
features = run(images=image)  # {features}
```
"""


def path(part: str) -> str:
    """Returns where a part lies in an export."""
    return f"litert/{part}.tflite"


def require() -> None:
    """Raises a `UserError` unless all that this format needs is installed."""
    _interpreter()


def bound(part: str) -> Bound:
    """Returns how far a part may be from the student."""
    return BOUNDS.get(part.partition(".")[2], Bound())


def sizes(facts: card.Card) -> list[tuple[int, int]]:
    """Returns the only height and width that the files take."""
    height, width = facts["litert"]["size"]
    return [(height, width)]


def write(student: Student, part: str, file: Path, facts: card.Card) -> None:
    """Writes one part in one precision.

    Args:
      student: what to convert.
      part: `backbone.float32`, ..., `heads.int8`.
      file: the `.tflite` file.
      facts: `litert` has `size`, and what int8 is calibrated on: `records`, a folder or empty, and `images`, how many.
    """
    endpoint, _, precision = part.partition(".")
    module = weights(student, endpoint)
    signature = [tf.TensorSpec([1, *facts["litert"]["size"], 3], tf.float32, name="images")]
    traced = tf.function(endpoints.outputs(student, endpoint, facts["normalization"]["inside"]), signature)
    module.serve = traced  # the converter looks for weights behind the module
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: _calibration(facts)
        # Operations that have no int8 (a sigmoid's exp, say) stay float32.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(converter.convert())


def load(file: Path) -> Runner:
    """Returns a file as ai-edge-litert runs it, image by image."""
    signature = _interpreter().Interpreter(model_path=str(file)).get_signature_runner("serving_default")

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        each = [signature(images=image[np.newaxis]) for image in images.astype(np.float32)]
        return {name: np.concatenate([found[name] for found in each]) for name in each[0]}

    return run


def _calibration(facts: card.Card) -> Iterator[list[np.ndarray]]:
    """Yields the images that tell the converter the range of each value, one by one."""
    said: dict[str, Any] = facts["litert"]
    size, count = tuple(said["size"]), said["images"]
    images = record_images(said["records"], count, size) if said["records"] else made_images(count, size)
    for image in endpoints.as_input(images, facts["normalization"]):
        yield [image[np.newaxis]]


def _interpreter() -> ModuleType:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise UserError(
            "format litert needs ai-edge-litert, which is not installed; pip install 'must_tf[litert]'"
        ) from None
