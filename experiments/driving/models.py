"""Writes the teachers of the driving experiment, model files and cards, out of what a user has.

YOLOX-nano has the card of `photos`; the stages map its classes to vehicles. TwinLiteNet is two teachers in one file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from must_tf import storage
from must_tf.experiments.driving import twinlitenet
from must_tf.experiments.photos import models, prepare

CARDS = Path(__file__).parent / "cards"
TWINLITENET = (
    "keras:twinlitenet.keras",
    "twinlitenet.npz",
    "github.com/chequanghuy/TwinLiteNet: the state dict, saved by np.savez under its names without `module.`",
)
YOLOX = models.MODELS["detection"]


class Model(NamedTuple):
    """One teacher.

    Attributes:
      card: file of its card.
      teacher: FORMAT:FILE in `OUT/models`.
      file: what it is made of, in the user's folder or in its folder `models`.
      where: where that is to be had.
    """

    card: Path
    teacher: str
    file: str
    where: str


MODELS: Mapping[str, Model] = {
    "vehicles": Model(prepare.CARDS / f"{YOLOX.card}.yaml", YOLOX.teacher, YOLOX.file, YOLOX.where),
    "drivable": Model(CARDS / "drivable.yaml", *TWINLITENET),
    "lanes": Model(CARDS / "lanes.yaml", *TWINLITENET),
    "scene": Model(
        CARDS / "scene.yaml",
        "litert:deeplab_cityscapes.tflite",
        "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite",
        "github.com/tensorflow/models, research/deeplab",
    ),
}


def card_of(task: str) -> str:
    """Returns the path of a teacher's card, relative to the folder of the experiment."""
    return f"models/{task}.card.yaml"


def write_models(data: str | os.PathLike, out: str | os.PathLike) -> dict[str, str]:
    """Writes the teachers that can be had into `OUT/models`, and their cards; names those that cannot.

    Args:
      data: the user's folder.
      out: folder of the experiment.

    Returns:
      {task: FORMAT:PATH}, relative to `out`, of those that are there.
    """
    folder, found = Path(out, "models"), {}
    folder.mkdir(parents=True, exist_ok=True)
    for task, model in MODELS.items():
        name, _, made = model.teacher.partition(":")
        path = models.find_file(data, model.file)
        if path and not (folder / made).exists():
            models.write_model(path, folder / made, twinlitenet.load)
        if (folder / made).exists():
            card = Path(out, card_of(task))
            if not card.exists():  # a user may have changed it
                storage.write_bytes(card, model.card.read_bytes())
            found[task] = f"{name}:models/{made}"
        else:
            print(f"driving: without the teacher of {task}: no {model.file}; see {model.where}", flush=True)
    return found
