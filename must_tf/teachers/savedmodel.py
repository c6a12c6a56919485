"""`savedmodel:DIR`: a signature of a TensorFlow SavedModel."""

from pathlib import Path

import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.tasks.reader import Slot
from must_tf.teachers.card import Card
from must_tf.teachers.graph import GraphModel, slot
from must_tf.teachers.spec import TeacherSpec

USUAL = "serving_default"


class SavedModel(GraphModel):
    """A SavedModel.

    Args:
      path: its folder.
      signature: the name of the function to run; None takes the usual one, else the first.
    """

    format = "savedmodel"
    packages = ("tensorflow",)

    def __init__(self, path: str, signature: str | None):
        if not Path(path, "saved_model.pb").is_file():
            raise UserError(f"savedmodel:{path}: no saved_model.pb in it; expected the folder of a SavedModel")
        self.path = path
        try:
            self._model = tf.saved_model.load(path)  # owns the variables
        except Exception as error:  # of its parser, its ops and its files; they have no common base but this
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"savedmodel:{path}: TensorFlow {tf.__version__} cannot load it: {reason}") from error
        known = dict(self._model.signatures)
        if signature is None:
            signature = USUAL if USUAL in known or not known else min(known)
            self.known = {} if signature == USUAL else {"signature": signature}
        if signature not in known:
            have = nearest(signature, known) if known else "it has none: save it with signatures="
            raise UserError(f"savedmodel:{path}: no signature {signature!r}; {have}")
        self._function = known[signature]
        arguments = self._function.structured_input_signature[1]
        self.inputs = tuple(slot(name, spec) for name, spec in sorted(arguments.items()))

    @classmethod
    def open(cls, spec: TeacherSpec, card: Card | None) -> "SavedModel":
        """Opens the signature that the card names."""
        return cls(spec.path, card.signature if card else None)

    def outputs(self) -> tuple[Slot, ...]:
        """Returns what the signature gives."""
        return tuple(slot(name, spec) for name, spec in self._function.structured_outputs.items())

    def run(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the signature."""
        return self._function(**{self.inputs[0].name: images})
