"""What every file format offers: named inputs and outputs, and a way to run them."""

import abc
import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from must_tf import storage
from must_tf.errors import UserError
from must_tf.tasks.reader import Slot
from must_tf.teachers.card import Card
from must_tf.teachers.spec import TeacherSpec

_MODULES = {"pillow": "PIL"}  # of libraries whose module has another name


class Model(abc.ABC):
    """A model file that is open.

    Attributes:
      format: the word before the colon in `FORMAT:PATH`.
      path: the file, folder or preset.
      inputs: what it takes.
      packages: the libraries that run it, for the manifest.
      known: fields of a card that the model itself says; a card may say otherwise.
      quantized: whether `predict` takes real numbers, or pixels as they are, and turns them into integers itself.
      fixed: fields of a card that are the model's own business; a card may not give them.
    """

    format: str
    path: str
    inputs: tuple[Slot, ...]
    packages: tuple[str, ...]
    known: Mapping[str, Any] = {}
    quantized: bool = False
    fixed: tuple[str, ...] = ()

    @classmethod
    def open(cls, spec: TeacherSpec, card: Card | None) -> "Model":
        """Opens the model that a user asks for.

        Args:
          spec: where it is.
          card: what it expects and gives; None where that is to be drafted.
        """
        del card
        return cls(spec.path)  # type: ignore[call-arg]

    @abc.abstractmethod
    def outputs(self) -> tuple[Slot, ...]:
        """Returns what it gives, shapes as far as they are known before it runs."""

    @abc.abstractmethod
    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model on one batch that its input takes as it is; returns its outputs by name."""

    def of_views(self, prepare: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Returns what `predict` makes of prepared views, as a function of views, uint8 RGB [batch, h, w, 3].

        Args:
          prepare: the `Preparation` of the model's input.
        """
        return lambda views: self.predict(prepare(views))

    def sha256(self) -> str:
        """Returns the SHA-256 of the file; of a folder, that of the names and digests of its files."""
        path = Path(self.path)
        if path.is_dir():
            parts = sorted(part for part in path.rglob("*") if part.is_file())
            lines = [f"{part.relative_to(path).as_posix()} {storage.sha256(part)}" for part in parts]
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return storage.sha256(path)


def require_file(where: str, path: str) -> None:
    """Raises a `UserError` unless the path is a file."""
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns versions as the libraries themselves say them: a distribution may be another, as onnxruntime-gpu is."""
    modules = {name: importlib.import_module(_MODULES.get(name, name.replace("-", "_"))) for name in packages}
    return {name: str(module.__version__) for name, module in modules.items()}


def optional(module: str, extra: str) -> ModuleType:
    """Imports a library that an extra brings; its absence is a `UserError` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise UserError(f"{module.partition('.')[0]} is not installed: pip install 'must_tf[{extra}]'") from None
