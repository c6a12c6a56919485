"""Format `garden`: a checkpoint that Model Garden's own trainers start from, with the model config that fits it."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from must_tf.errors import UserError
from must_tf.export import endpoints
from must_tf.export.format import Card, Format
from must_tf.export.images import MADE, Images
from must_tf.export.parity import Runner
from must_tf.garden import is_resnet
from must_tf.saving import parts, read_architecture
from must_tf.student import Student
from must_tf.trunk import Trunk

CONFIG = "config.yaml"
_CHECKPOINT = "ckpt"
_SNIPPET = """
## Load it: Model Garden

`garden/config.yaml` has the fields that a RetinaNet, Mask R-CNN or segmentation experiment of Model Garden needs to
start from `garden/`. Model Garden's parsers normalize images as this backbone expects.

```
python -m official.vision.train --experiment=retinanet_resnetfpn_coco --mode=train --model_dir=DIR \\
    --config_file=garden/config.yaml --params_override=task.init_checkpoint=/PATH/TO/garden
```
"""


class ModelGarden(Format):
    """A checkpoint of backbone and decoder, `ckpt-1`, and `config.yaml`."""

    name = "garden"
    parts = (endpoints.BACKBONE,)
    snippet = _SNIPPET

    def path(self, part: str) -> str:
        """Returns where the only part lies in an export."""
        del part
        return "garden"

    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes checkpoint and config; the folder is a value of `task.init_checkpoint`."""
        text = yaml.safe_dump({"task": config(student, facts["input_size"])}, sort_keys=False)
        prefix = tf.train.Checkpoint(**_trunk(student)).save(str(where / _CHECKPOINT))
        name = Path(prefix).name
        (where / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
        (where / CONFIG).write_text(
            f"# Fields that a task of Model Garden needs to start from this checkpoint.\n{text}"
        )

    def load(self, where: Path) -> Runner:
        """Returns the trunk of a new student, with the weights that Model Garden's tasks read from a checkpoint."""
        architecture = read_architecture(where.parent)
        student = Student(architecture.tasks, architecture.trunk)
        checkpoint = tf.train.Checkpoint(**_trunk(student))
        checkpoint.read(tf.train.latest_checkpoint(str(where))).expect_partial().assert_existing_objects_matched()

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            return {name: values.numpy() for name, values in student.features(tf.constant(images)).items()}

        return run


def config(student: Student, input_size: list[int]) -> dict[str, Any]:
    """Returns the fields that the config of a task of Model Garden needs."""
    trunk = student.architecture.trunk
    model: dict[str, Any] = {
        "input_size": [*input_size, 3],
        "backbone": _backbone(trunk),
        "norm_activation": {
            "activation": "relu",
            "use_sync_bn": trunk.sync_norm,
            "norm_momentum": trunk.norm_momentum,
            "norm_epsilon": trunk.norm_epsilon,
        },
    }
    modules = ["backbone"]
    if student.decoder is not None:
        modules.append("decoder")
        model |= {"min_level": trunk.min_level, "max_level": trunk.max_level}
        model["decoder"] = {"type": "fpn", "fpn": {"num_filters": trunk.num_filters}}
    return {"init_checkpoint": "garden", "init_checkpoint_modules": modules, "model": model}


def _trunk(student: Student) -> dict[str, Any]:
    return {name: layer for name, layer in parts(student).items() if name != "heads"}


def _backbone(trunk: Trunk) -> dict[str, Any]:
    """Returns the config of a ResNet; of other families ours are cut above level 5, or have other activations."""
    family, _, depth = trunk.backbone.partition("-")
    if not is_resnet(trunk.backbone):
        raise UserError(f"format garden: the student's backbone is {trunk.backbone}; this format has ResNets only")
    return {"type": family, family: {"model_id": int(depth), "depth_multiplier": trunk.width}}
