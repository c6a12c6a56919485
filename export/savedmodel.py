"""Format `savedmodel`: for `tf.saved_model.load`, TF Serving, and `keras.layers.TFSMLayer` of Keras 3."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from must_tf.export import endpoints, reproducible
from must_tf.export.format import Card, Format
from must_tf.export.images import MADE, Images
from must_tf.export.parity import Runner
from must_tf.runtime.tracing import plain
from must_tf.saving import parts
from must_tf.student import Student

_SNIPPET = """
## Load it: SavedModel in Keras 3

The backbone is a layer that can be fine-tuned. `call_training_endpoint` makes the moving statistics of batch norms
follow the new data.

```python
import keras
import numpy as np

images = np.zeros([1, {height}, {width}, 3], "float32")  # {pixels}
backbone = keras.layers.TFSMLayer(
    "savedmodel/backbone", call_endpoint="features", call_training_endpoint="features_train"
)
features = backbone(images)  # {features}
```

With must_tf: `must finetune --init_from=FOLDER`, or `must_tf.training.load_trunk(student, FOLDER)`. FOLDER is the
folder of this README.

## Load it: SavedModel in TensorFlow

The signature `serving_default` takes float32 images. `serving_uint8` takes uint8 images; it is there if images are
normalized inside. TF Serving serves both.

```python
import numpy as np
import tensorflow as tf

images = np.zeros([1, {height}, {width}, 3], "float32")  # {pixels}
student = tf.saved_model.load("savedmodel/student")
outputs = student.signatures["serving_default"](images=tf.constant(images))  # by name, as above
features = student.features(tf.constant(images))  # {features}
```
"""


class SavedModel(Format):
    """A SavedModel of backbone and student, which can be fine-tuned."""

    name = "savedmodel"
    parts = (endpoints.BACKBONE, endpoints.STUDENT)
    snippet = _SNIPPET

    def path(self, part: str) -> str:
        """Returns where a part lies in an export."""
        return f"savedmodel/{part}"

    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes one part as a SavedModel; it has no place for facts, which stand in the card beside it."""
        module = served(student, part, facts["normalization"]["inside"])
        signatures = {"serving_default": module.serve}
        if facts["normalization"]["inside"]:
            signatures["serving_uint8"] = module.serve_uint8
        tf.saved_model.save(module, str(where), signatures=signatures)
        reproducible.clean_saved_model(where)

    def load(self, where: Path) -> Runner:
        """Returns a SavedModel's signatures, as TensorFlow loads it: `serving_uint8` for uint8 images."""
        signatures = tf.saved_model.load(str(where)).signatures

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            name = "serving_uint8" if images.dtype == np.uint8 else "serving_default"
            return {name: values.numpy() for name, values in signatures[name](images=tf.constant(images)).items()}

        return run


def served(student: Student, part: str, normalize: bool = True) -> tf.Module:
    """Returns a module of a student's functions and their weights, under the names that `load_trunk` expects.

    Endpoints: `serve` (what the part serves) and `serve_uint8`, the same for uint8 images; `features` (inference) and
    `features_train` (batch norms in training mode; their moving statistics follow).

    Args:
      student: what to serve; its variables are shared, not copied.
      part: `backbone`, which leaves out the heads, or `student`.
      normalize: see `endpoints.outputs`; if not, there is no endpoint for uint8.
    """
    module = weights(student, part)
    module.features = tf.function(
        plain(endpoints.outputs(student, endpoints.BACKBONE, normalize=normalize)), endpoints.SIGNATURE
    )
    module.features_train = tf.function(plain(endpoints.training_features(student, normalize)), endpoints.SIGNATURE)
    module.serve = module.features
    if part == endpoints.STUDENT:
        served = endpoints.outputs(student, part, SavedModel.name, normalize)
        module.serve = tf.function(plain(served), endpoints.SIGNATURE)
    if normalize:
        pixels = [tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")]
        module.serve_uint8 = tf.function(lambda images: module.serve(tf.cast(images, tf.float32)), pixels)
    return module


def weights(student: Student, part: str) -> tf.Module:
    """Returns the variables of a part under the names of a checkpoint of it; the student's own, not copies.

    No Keras object is inside: a Keras model in a SavedModel freezes height and width, and brings along a function for
    each of its layers.
    """
    module = tf.Module()
    for name, layer in parts(student).items():
        if name != "heads" or part != endpoints.BACKBONE:
            setattr(module, name, _variable_tree(layer))
    return module


def _variable_tree(layer: tf.Module) -> tf.Module:
    view = tf.train.TrackableView(layer)
    copies: dict[int, tf.Module] = {}

    def copy(node):
        if isinstance(node, tf.Variable):
            return node
        if id(node) not in copies:
            copies[id(node)] = tf.Module()
            for name, child in view.children(node).items():
                setattr(copies[id(node)], name, copy(child))
        return copies[id(node)]

    return copy(layer)
