"""Interface of a model file of any format: named inputs and outputs, and a method that runs the model."""

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
from must_tf.runtime import pytorch
from must_tf.runtime.gpus import share_gpus
from must_tf.tasks.reader import Slot
from must_tf.teachers.card import Card
from must_tf.teachers.spec import TeacherSpec

_POINTER = b"version https://git-lfs.github.com/spec"
_IMPORT_NAMES = {"pillow": "PIL"}  # of packages whose module has another name


class Model(abc.ABC):
    """An open model file.

    Attributes:
      format: the format's name, a key of `spec.FORMATS`.
      path: the file, folder or preset.
      inputs: name, shape and type of each input.
      packages: the packages that run it, for the manifest.
      known: card fields that the model itself defines; a card may override them.
      quantized: whether the model's input is quantized; `predict` then takes floats or unscaled pixels and converts
        them.
      pixel_range: what the pixel values 0 and 255 mean by the quantization of the model's input, if it has one.
      fixed: card fields that the model handles itself; a card must not give them.
      takes_several: whether the format runs models of several inputs, see `predict_all`.
      metadata: what the file says of itself, by name, for drafts of a card.
      facts: card fields that follow from the file, for drafts; unlike those of `known`, a card must give them.
    """

    format: str
    path: str
    inputs: tuple[Slot, ...]
    packages: tuple[str, ...]
    known: Mapping[str, Any] = {}
    quantized: bool = False
    pixel_range: tuple[float, float] | None = None
    fixed: tuple[str, ...] = ()
    takes_several: bool = False
    metadata: Mapping[str, str] = {}
    facts: Mapping[str, Any] = {}

    @classmethod
    def open(cls, spec: TeacherSpec, card: Card | None) -> "Model":
        """Opens a model.

        Args:
          spec: format and path.
          card: its card; None if a card is to be drafted.

        Raises:
          UserError: the model cannot be loaded, or its library is not installed.
        """
        del card
        return cls(spec.path)  # type: ignore[call-arg]

    @abc.abstractmethod
    def outputs(self) -> tuple[Slot, ...]:
        """Returns name, shape and type of each output; sizes that are unknown before it runs are None."""

    @abc.abstractmethod
    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model on one batch in the shape and type of its input; returns its outputs by name."""

    def predict_all(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a model of several inputs, as `predict`; only where `takes_several`.

        Args:
          arrays: the inputs by name.
        """
        raise NotImplementedError(self.format)

    def channels_first(self) -> bool | None:
        """Returns whether the input is [batch, 3, h, w] by more than its shape; None if nothing tells."""
        return None

    def of_views(self, prepare: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Returns a function that prepares views, uint8 RGB [batch, h, w, 3], and runs the model on them.

        Args:
          prepare: the `Preparation` of the model's input.
        """
        return lambda views: self.predict(prepare(views))

    def sha256(self) -> str:
        """Returns the SHA-256 of the file, or for a folder, of the names and digests of its files."""
        path = Path(self.path)
        if path.is_dir():
            parts = sorted(part for part in path.rglob("*") if part.is_file())
            lines = [f"{part.relative_to(path).as_posix()} {storage.sha256(part)}" for part in parts]
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return storage.sha256(path)


def require_file(where: str, path: str) -> None:
    """Raises a `UserError` unless the path is a file, with its own content."""
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file")
    require_content(where, Path(path))


def require_content(where: str, file: Path) -> None:
    """Raises a `UserError` for a file that Git LFS left as a pointer to its content, as in a clone without LFS."""
    with file.open("rb") as opened:
        pointer = opened.read(len(_POINTER)) == _POINTER
    if pointer:
        raise UserError(f"{where}: {file.name} is a pointer of Git LFS, not the file; fetch the file: git lfs pull")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the `__version__` of the imported modules; a package may have another name, such as onnxruntime-gpu."""
    modules = {name: importlib.import_module(_IMPORT_NAMES.get(name, name.replace("-", "_"))) for name in packages}
    return {name: str(module.__version__) for name, module in modules.items()}


def optional(module: str, extra: str) -> ModuleType:
    """Imports a library of an extra, to which TensorFlow leaves memory on GPUs.

    Raises:
      UserError: it is missing; the message names the command that installs it.
    """
    share_gpus()
    if extra == "hf":
        pytorch.load_beside_tensorflow()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise UserError(f"{module.partition('.')[0]} is not installed: pip install 'must_tf[{extra}]'") from None
