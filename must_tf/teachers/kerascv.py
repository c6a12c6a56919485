"""KerasCV models as teachers, `kerascv:PRESET_OR_DIR` (extra `kerascv`); KerasHub supersedes the library."""

from typing import Any

from must_tf.teachers.card import Card
from must_tf.teachers.model import optional
from must_tf.teachers.presets import PresetModel, known_activation, known_boxes, load

_CLASSES = ("ImageClassifier", "RetinaNet", "YOLOV8Detector", "DeepLabV3Plus", "SegFormer", "BASNet")


class KerasCvModel(PresetModel):
    """A preset of a task model. Its card gives the input range; most models rescale pixels and take 0 to 255."""

    format = "kerascv"
    packages = ("keras-cv", "keras", "tensorflow")

    def __init__(self, path: str, card: Card | None):
        cv = optional("keras_cv", "kerascv")
        model = load(f"kerascv:{path}", lambda: _class(cv, path).from_preset(path))
        if hasattr(model, "bounding_box_format"):
            self.known = {"task": "detection"} | known_boxes(model, "classes")
        elif isinstance(model, cv.models.ImageClassifier):
            self.known = {"task": "classification"} | known_activation(model)
        else:
            self.known = {"task": "segmentation"}
        super().__init__(path, model, card.input_size if card else None)


def _class(cv: Any, path: str) -> Any:
    """Returns the class that lists a preset, or `Task`, which reads the class from a folder."""
    return next(
        (getattr(cv.models, name) for name in _CLASSES if path in getattr(cv.models, name).presets), cv.models.Task
    )
