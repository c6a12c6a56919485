"""`keras:FILE`: a `.keras` or `.h5` file of Keras 3 or of tf_keras; each is loaded by the one that wrote it."""

import json
import zipfile
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.teachers.graph import KerasModel
from must_tf.teachers.model import require_file


class KerasFile(KerasModel):
    """A Keras model in a file. No code that a file may hold (Lambda layers) is run."""

    format = "keras"

    def __init__(self, path: str):
        require_file(f"keras:{path}", path)
        self.path = path
        version = _version(path)
        legacy = version.startswith("2")
        self.packages = ("tf_keras" if legacy else "keras", "tensorflow")
        super().__init__(_load(path, legacy))


def _load(path: str, legacy: bool) -> Any:
    if legacy:
        import tf_keras as keras
    else:
        import keras  # type: ignore[no-redef]
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of Keras, h5py and zipfile
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"keras:{path}: {keras.__name__} {keras.__version__} cannot load it: {reason}") from error


def _version(path: str) -> str:
    """Returns the version of Keras that wrote a file."""
    if Path(path).suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError):
            raise UserError(f"keras:{path}: not a .keras file; expected what model.save('NAME.keras') writes") from None
    import h5py

    try:
        with h5py.File(path) as file:
            if "Lambda" in _layer_kinds(json.loads(file.attrs["model_config"])):
                raise UserError(f"keras:{path}: holds a Lambda layer, which is code; save the model without it")
            return str(file.attrs["keras_version"])
    except (OSError, KeyError, ValueError):
        raise UserError(f"keras:{path}: not a whole model (weights alone?); expected what model.save writes") from None


def _layer_kinds(config: Any) -> set[str]:
    """Returns the class names in a model's configuration."""
    if isinstance(config, list):
        return set().union(*(_layer_kinds(value) for value in config))
    if not isinstance(config, dict):
        return set()
    return {str(config.get("class_name"))}.union(*(_layer_kinds(value) for value in config.values()))
