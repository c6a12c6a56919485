"""`savedmodel:DIR`: a signature of a TensorFlow SavedModel."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, one_line
from must_tf.tasks.reader import Slot
from must_tf.teachers import program
from must_tf.teachers.card import Card
from must_tf.teachers.graph import GraphModel, slot
from must_tf.teachers.spec import TeacherSpec


class SavedModel(GraphModel):
    """A SavedModel. It is a program, and is loaded if `program.check` finds that it only computes.

    Args:
      path: its folder.
      signature: the name of the function to run; None takes the usual one, else the first.
      allow_ops: names of ops that it may run beside the trusted ones.
    """

    format = "savedmodel"
    packages = ("tensorflow",)
    takes_several = True

    def __init__(self, path: str, signature: str | None, allow_ops: Iterable[str] = ()):
        chosen = program.check(path, signature, allow_ops)
        if signature is None and chosen != program.USUAL:
            self.known = {"signature": chosen}
        self.path = path
        try:
            self._model = tf.saved_model.load(path)  # owns the variables
            self._function = self._model.signatures[chosen]
        except Exception as error:  # of its parser, its ops and its files; they have no common base but this
            raise UserError(
                f"savedmodel:{path}: TensorFlow {tf.__version__} cannot load it: {one_line(error)}"
            ) from error
        arguments = self._function.structured_input_signature[1]
        self.inputs = tuple(slot(name, spec) for name, spec in sorted(arguments.items()))

    @classmethod
    def open(cls, spec: TeacherSpec, card: Card | None) -> "SavedModel":
        """Opens the signature that the card names, with the ops that the user allows."""
        return cls(spec.path, card.signature if card else None, spec.allow_ops)

    def outputs(self) -> tuple[Slot, ...]:
        """Returns what the signature gives."""
        return tuple(slot(name, spec) for name, spec in self._function.structured_outputs.items())

    def run(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the signature."""
        return self._function(**{self.inputs[0].name: images})

    def predict_all(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the signature on all inputs."""
        found = self._function(**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: values.numpy() for name, values in found.items()}
