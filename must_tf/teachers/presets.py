"""Common base of KerasHub and KerasCV presets."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.teachers.card import Card
from must_tf.teachers.graph import KerasModel
from must_tf.teachers.spec import TeacherSpec

_PROBE_SIZE = (256, 256)
_BOX_FORMATS = {"yxyx": "yxyx", "xyxy": "xyxy", "xywh": "xywh", "center_xywh": "cxcywh"}


class PresetModel(KerasModel):
    """A model from a preset: a folder, or a name that the library downloads.

    Args:
      path: the folder or name.
      model: the library's task model.
      size: height and width with which the model is traced; by default those of its input, or 256 x 256.
      prepare: preprocessing of images, inside the graph.
    """

    def __init__(
        self, path: str, model: Any, size: Size | None, prepare: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    ):
        self.path = path
        self.model = model
        self._prepare = prepare
        own = tuple(model.inputs[0].shape[1:3])
        super().__init__(model, self._found, (1, *(size or (_PROBE_SIZE if None in own else own)), 3))

    @classmethod
    def open(cls, spec: TeacherSpec, card: Card | None) -> "PresetModel":
        """Opens a preset; the card may give the input size and, for KerasHub, the kind."""
        return cls(spec.path, card)  # type: ignore[arg-type, call-arg]

    def sha256(self) -> str:
        """Returns the digest of the folder, or for a preset by name, of its weights."""
        if Path(self.path).is_dir():
            return super().sha256()
        digest = hashlib.sha256()
        for weights in self.model.get_weights():
            digest.update(weights.tobytes())
        return digest.hexdigest()

    def _found(self, images: tf.Tensor) -> Any:
        images = self._prepare(images)
        found = self.model(images, training=False)
        return self.model.decode_predictions(found, images) if hasattr(self.model, "decode_predictions") else found


def known_boxes(model: Any, classes: str) -> dict[str, Any]:
    """Returns the card fields that a detector defines; `classes` is the name of its output of class ids."""
    name = model.bounding_box_format.removeprefix("rel_")
    if name not in _BOX_FORMATS:
        raise UserError(
            f"{model.name}: boxes of format {model.bounding_box_format!r}; expected one of {list(_BOX_FORMATS)}"
        )
    units = "normalized" if model.bounding_box_format.startswith("rel_") else "pixels"
    outputs = {"boxes": "boxes", "scores": "confidence", "classes": classes, "count": "num_detections"}
    return {"suppressed": True, "box_format": _BOX_FORMATS[name], "box_units": units, "outputs": outputs}


def known_activation(model: Any) -> dict[str, Any]:
    """Returns the card fields `activation` and `multi_label` from a classifier's last activation, if it has one."""
    import keras

    if not hasattr(model, "activation"):
        return {}
    fields: dict[str, dict[str, Any]] = {
        "softmax": {"activation": "probabilities", "multi_label": False},
        "sigmoid": {"activation": "probabilities", "multi_label": True},
        "linear": {"activation": "logits"},
    }
    return fields[keras.activations.get(model.activation).__name__]


def load(where: str, make: Callable[[], Any]) -> Any:
    """Runs a library's loader; any failure (no such preset, no network, another kind of model) is a `UserError`."""
    try:
        return make()
    except Exception as error:  # from the library, the client of Kaggle or Hugging Face, or the network
        raise UserError(f"{where}: cannot be loaded: {' '.join(str(error).split())[:300]}") from error
