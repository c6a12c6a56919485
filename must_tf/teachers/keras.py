"""`keras:FILE`: a `.keras` or `.h5` file of Keras 3 or of tf_keras; each is loaded by the one that wrote it."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError, one_line
from must_tf.teachers.graph import KerasModel
from must_tf.teachers.keras_config import check_config
from must_tf.teachers.model import require_file

_MOST_BYTES = 2**28  # of a model's configuration
_SCALES_PIXELS = 0.02  # scale up to which a layer takes the values 0 to 255
_LEAVE_VALUES = ("InputLayer", "Random", "Resizing", "CenterCrop")  # augmentation does nothing in inference
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "softmax": {"activation": "probabilities", "multi_label": False},
    "sigmoid": {"activation": "probabilities", "multi_label": True},
}


class KerasFile(KerasModel):
    """A Keras model in a file, which is loaded if it only holds layers of Keras: see `keras_config`."""

    format = "keras"

    def __init__(self, path: str):
        require_file(f"keras:{path}", path)
        self.path = path
        version = _version(path)
        legacy = version.startswith("2")
        self.packages = ("tf_keras" if legacy else "keras", "tensorflow")
        model = _load(path, legacy)
        super().__init__(model)
        self.facts = _first_scale(model) | _last_activation(model)


def _load(path: str, legacy: bool) -> Any:
    if legacy:
        import tf_keras as keras
    else:
        import keras  # type: ignore[no-redef]
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of Keras, h5py and zipfile
        raise UserError(
            f"keras:{path}: {keras.__name__} {keras.__version__} cannot load it: {one_line(error)}"
        ) from error


def _first_scale(model: Any) -> dict[str, Any]:
    """Returns the `range` of a model that scales pixels itself, in its first layer."""
    first = next(_layers(model), None)
    if first is None or type(first).__name__ != "Rescaling" or np.max(np.abs(first.scale)) > _SCALES_PIXELS:
        return {}
    return {"range": [0, 255]}


def _last_activation(model: Any) -> dict[str, Any]:
    """Returns `activation` and `multi_label` of a model that ends with a softmax or a sigmoid.

    The sigmoid of a single value is the probability of the second of two classes.
    """
    last = [None, *_layers(model)][-1] if len(model.outputs) == 1 else None
    name = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    fields = dict(_ACTIVATIONS.get(name, {}))
    if name == "sigmoid" and model.outputs[0].shape[-1] == 1:
        fields["multi_label"] = False
    return fields


def _layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model in their order, and those of models among them; none that leave values alone."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        elif not type(layer).__name__.startswith(_LEAVE_VALUES):
            yield layer


def _version(path: str) -> str:
    """Returns the version of Keras that wrote a file, whose configuration has been checked."""
    read = _read_archive if Path(path).suffix == ".keras" else _read_hdf5
    version, config = read(path)
    check_config(f"keras:{path}", config)
    return version


def _read_archive(path: str) -> tuple[str, Any]:
    """Returns version and configuration of a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            metadata, config = (_read_json(archive, name) for name in ("metadata.json", "config.json"))
            return str(metadata["keras_version"]), config
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"keras:{path}: not a .keras file; expected what model.save('NAME.keras') writes") from None


def _read_json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise ValueError(f"{name} has more than {_MOST_BYTES} bytes")
    return json.loads(archive.read(name))


def _read_hdf5(path: str) -> tuple[str, Any]:
    """Returns version and configuration of a .h5 file."""
    import h5py

    try:
        with h5py.File(path) as file:
            return str(file.attrs["keras_version"]), json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"keras:{path}: not a whole model (weights alone?); expected what model.save writes") from None
