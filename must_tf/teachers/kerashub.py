"""KerasHub models as teachers, `kerashub:PRESET_OR_DIR`, with their own preprocessing (extra `kerashub`)."""

from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError
from must_tf.teachers.card import Card
from must_tf.teachers.facts import CONVENTIONS
from must_tf.teachers.model import optional
from must_tf.teachers.presets import PresetModel, known_activation, known_boxes, load

_CLASSES = {
    "classification": "ImageClassifier",
    "detection": "ObjectDetector",
    "segmentation": "ImageSegmenter",
    "depth": "DepthEstimator",
    "features": "Backbone",
}
_HEADLESS = "features"  # whose models have no preprocessor: the image converter beside them prepares images


class KerasHubModel(PresetModel):
    """A preset of KerasHub. Its kind is that of the card; without a card, that of the folder or of KerasHub's list."""

    format = "kerashub"
    packages = ("keras-hub", "keras", "tensorflow")
    fixed = ("range", "mean", "std", "channel_order", "layout")

    def __init__(self, path: str, card: Card | None):
        hub = optional("keras_hub", "kerashub")
        where = f"kerashub:{path}"
        kind = card.task if card else _kind(where, Path(path), hub)
        if kind not in _CLASSES:
            raise UserError(f"{where}: KerasHub has no models of {kind}; it has {', '.join(_CLASSES)}")
        model = load(where, lambda: getattr(hub.models, _CLASSES[kind]).from_preset(path))
        if kind == _HEADLESS:
            prepare = converter = load(where, lambda: hub.layers.ImageConverter.from_preset(path))
        else:
            prepare, converter = model.preprocessor, getattr(model.preprocessor, "image_converter", None)
        if converter is None:
            raise UserError(f"{where}: the preset has no preprocessing; save the model with its preprocessor")
        self.known = _known(model, kind, converter)
        converter.image_size = None  # views already have the right size
        size = (card and card.input_size) or self.known["input_size"]
        super().__init__(path, model, size, prepare)


def _known(model: Any, kind: str, converter: Any) -> dict[str, Any]:
    """Returns the card fields that the model defines."""
    resize = "crop" if converter.crop_to_aspect_ratio else "fit" if converter.pad_to_aspect_ratio else "stretch"
    known: dict[str, Any] = {"task": kind, "range": (0.0, 255.0), "input_size": converter.image_size, "resize": resize}
    if kind == _HEADLESS:
        return known
    if kind == "detection":
        return known | known_boxes(model, "labels")
    if kind == "depth":
        return known | {"convention": CONVENTIONS[model.depth_estimation_type]}
    return known | known_activation(model)


def _kind(where: str, folder: Path, hub: Any) -> str:
    """Returns the kind of the model in a folder, or of a preset that KerasHub lists."""
    import keras

    for kind, base in _CLASSES.items():
        if str(folder) in getattr(hub.models, base).presets:
            return kind
    if (folder / "config.json").is_file() and not (folder / "task.json").is_file():
        return _HEADLESS
    if not folder.is_dir():
        raise UserError(
            f"{where}: neither a folder nor a preset of {', '.join(_CLASSES.values())} that KerasHub lists; "
            "write its card without a draft (task, class_names), and name it with --cards=TASK=FILE"
        )
    if not (folder / "task.json").is_file():
        raise UserError(f"{where}: no task.json in it; expected the folder of a preset of a task")
    name = storage.read_json(folder / "task.json")["registered_name"]
    found = keras.saving.get_registered_object(name)
    for kind, base in _CLASSES.items():
        if found is not None and issubclass(found, getattr(hub.models, base)):
            return kind
    raise UserError(f"{where}: a preset of {name}; expected one of {', '.join(_CLASSES.values())}")
