"""What the two formats with `.keras` files have in common: a backbone of plain layers, see `plain`."""

import abc
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from must_tf.export import endpoints, plain, reproducible
from must_tf.export.format import Card, Format
from must_tf.export.images import MADE, Images
from must_tf.export.parity import Runner
from must_tf.student import Student


class KerasFile(Format):
    """A `.keras` file of one version of Keras.

    Attributes:
      library: name of the module of that version.
    """

    library: ClassVar[str]
    parts = (endpoints.BACKBONE,)

    @property
    def keras(self) -> ModuleType:
        """The module of that version: Keras 3 takes two seconds to import, which other formats are spared."""
        return importlib.import_module(self.library)

    def path(self, part: str) -> str:
        """Returns where a part lies in an export."""
        return f"{self.name}/{part}.keras"

    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes the backbone; the file has no place for facts, which stand in the card beside it."""
        where.parent.mkdir(parents=True, exist_ok=True)
        plain.build(self.keras, student, facts["normalization"]["inside"]).save(where)
        reproducible.clean_keras_file(where)

    def load(self, where: Path) -> Runner:
        """Returns a `.keras` file as its Keras loads it."""
        model = self.keras.saving.load_model(where, compile=False, safe_mode=True)

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            return {name: self.to_numpy(values) for name, values in model(images, training=False).items()}

        return run

    @abc.abstractmethod
    def to_numpy(self, values: Any) -> np.ndarray:
        """Turns a tensor of this Keras into an array."""
