"""Converts an EfficientNet of Hugging Face transformers, such as ALIGN's image encoder, to a start for `--init_from`.

    python -m must_tf.experiments.huggingface --model=checkpoints/align --out=checkpoints/align_encoder
    must train --config=imagenet/student.py:table7_must --init_from=checkpoints/align_encoder ...

MODEL is the folder that `save_pretrained` of the model and of its image processor wrote: `config.json`,
`model.safetensors` and `preprocessor_config.json` (or `processor_config.json`). OUT becomes a checkpoint as Model
Garden's trainer writes it, of the backbone alone. The command prints how many variables were loaded, which were not
used, and the fields of the trunk that a config needs. It needs the extra `hf`, and neither downloads nor runs a model.

Our student normalizes images in one way, whatever the model was trained on. The difference is folded into the first
convolution and its batch norm, so that the features of an image are the model's. They differ along the lower and the
right edge where zero, with which a convolution pads, is another color. Blocks in `depthwise_padding` of the model's
config pad on all sides, because maps have an odd size there at the model's own `image_size`. Images of must_tf have
sides that are multiples of 32, maps are even, and padding is to the right and below, as in the original EfficientNet.
"""

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read as TensorFlow is imported

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags

from must_tf import garden
from must_tf.cli import app
from must_tf.errors import UserError
from must_tf.parsing import parse, read_object, short
from must_tf.storage import put_folder
from must_tf.student import DEVIATION, MEAN
from must_tf.teachers.model import optional
from must_tf.trunk import Trunk

Tensors = Mapping[str, np.ndarray]

_LAYERS = {  # name in `garden.efficientnet_layers`: name in transformers' EfficientNet
    "stem": "embeddings.convolution",
    "stem_norm": "embeddings.batchnorm",
    "expand": "expansion.expand_conv",
    "expand_norm": "expansion.expand_bn",
    "depthwise": "depthwise_conv.depthwise_conv",
    "depthwise_norm": "depthwise_conv.depthwise_norm",
    "se_reduce": "squeeze_excite.reduce",
    "se_expand": "squeeze_excite.expand",
    "project": "projection.project_conv",
    "project_norm": "projection.project_bn",
}
_COUNTER = ".num_batches_tracked"  # of torch's batch norms, no weight
_FIXED = {"strides": (1, 2, 2, 2, 1, 2, 1), "hidden_act": "swish", "depth_divisor": 8}  # what no shape tells

FLAGS = flags.FlagValues()
_MODEL = flags.DEFINE_string("model", None, "Folder of a saved model and its image processor.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the checkpoint; a former one is replaced.", flag_values=FLAGS)
flags.mark_flags_as_required(["model", "out"], flag_values=FLAGS)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How transformers' EfficientNetImageProcessor changes pixels; fields and defaults are its own."""

    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    rescale_offset: bool = False
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    include_top: bool = True

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns what the model sees of images in [0, 255], [..., 3]."""
        mean, deviation = np.asarray(self.image_mean), np.asarray(self.image_std)
        images = images.astype(np.float64)
        if self.do_rescale:
            images = images * self.rescale_factor - self.rescale_offset
        if self.do_normalize:
            images = (images - mean) / deviation
        return images / deviation if self.include_top else images


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.huggingface", __doc__, FLAGS, main, argv)


def main() -> None:
    """Converts."""
    convert(_MODEL.value, _OUT.value)


def convert(model: str | os.PathLike, out: str | os.PathLike) -> Trunk:
    """Writes a checkpoint of the backbone; see the module.

    Args:
      model: folder of the saved model and its image processor.
      out: folder for the checkpoint.

    Returns:
      The trunk whose backbone it fits.

    Raises:
      UserError: a file is missing or damaged, or the model is no EfficientNet that fits a trunk of ours.
    """
    trunk, tensors = read_trunk(model), _read_tensors(Path(model, "model.safetensors"))
    backbone = garden.backbone(trunk)
    used = load(backbone, tensors, read_preprocessing(model), model)
    save(backbone, out)
    spare = sorted({name.rpartition(".")[0] for name in tensors if name not in used})
    print(f"{out}: backbone: {len(backbone.variables)} variables loaded from {len(used)} tensors of {model}")
    print(f"  not used: {len(spare)} layers{''.join(f', {name}' for name in spare[:5])}{', ...' * (len(spare) > 5)}")
    fields = ("backbone", "se_ratio", "norm_epsilon")
    print("  a config needs", *(f"--config.trunk.{field}={getattr(trunk, field)}" for field in fields))
    return trunk


def save(backbone: tf_keras.Model, out: str | os.PathLike) -> None:
    """Writes a checkpoint of a backbone, as Model Garden's trainer would; a former one is replaced."""
    temporary, folder = Path(f"{out}.tmp"), Path(out)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tf.train.Checkpoint(backbone=backbone).save(str(temporary / "ckpt"))
    put_folder(temporary, folder)


def read_trunk(model: str | os.PathLike) -> Trunk:
    """Returns the trunk that a saved model's `config.json` describes."""
    path = Path(model, "config.json")
    config = read_object(path)
    config = config.get("vision_config", config)
    if config.get("model_type") not in ("efficientnet", "align_vision_model"):
        raise UserError(
            f"{path}: model_type {short(config.get('model_type'))} received, expected efficientnet or align"
        )
    for field, expected in _FIXED.items():
        found = parse(type(expected), config.get(field), path, field)
        if found != expected:
            raise UserError(
                f"{path}: {field} {short(found)} received, expected {expected}; no trunk of ours has others"
            )
    factors = ("width_coefficient", "depth_coefficient", "squeeze_expansion_ratio", "batch_norm_eps")
    width, depth, se_ratio, epsilon = (parse(float, config.get(name), path, name) for name in factors)
    name = garden.efficientnet_name(width, depth)
    if name is None:
        raise UserError(f"{path}: width {width} and depth {depth} received, expected those of an EfficientNet b0 to l2")
    return Trunk(name, se_ratio=se_ratio, norm_momentum=0.99, norm_epsilon=epsilon)


def read_preprocessing(model: str | os.PathLike) -> Preprocessing:
    """Returns how images are prepared for a saved model, by the files of its image processor."""
    path = Path(model, "preprocessor_config.json")
    if path.exists():
        value = read_object(path)
    else:
        path = Path(model, "processor_config.json")
        if not path.exists():
            raise UserError(
                f"{model}: no preprocessor_config.json, which says how images are normalized; save the model's image "
                "processor there too"
            )
        value = parse(dict[str, Any], read_object(path).get("image_processor"), path, "image_processor")
    known = {field.name for field in dataclasses.fields(Preprocessing)}
    return parse(Preprocessing, {name: part for name, part in value.items() if name in known}, path)


def load(
    backbone: tf_keras.Model, tensors: Tensors, preprocessing: Preprocessing, where: str | os.PathLike
) -> set[str]:
    """Gives a backbone the weights of a model; every variable gets a value.

    Args:
      backbone: of an EfficientNet.
      tensors: of the model, by name.
      preprocessing: of the model's images.
      where: the tensors are from, for messages.

    Returns:
      Names of the tensors that were used.
    """
    stem = f"{_LAYERS['stem']}.weight"
    prefix = next((name.removesuffix(stem) for name in tensors if name.endswith(stem)), "")
    used: set[str] = set()
    for name, layer in garden.efficientnet_layers(backbone).items():
        block, _, kind = name.rpartition("/")
        theirs = f"{prefix}{f'encoder.blocks.{block}.' if block else ''}{_LAYERS[kind]}"
        names = [f"{theirs}.{part}" for part in _tensor_names(layer)]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise UserError(f"{where}: no tensor {missing[0]}; expected an EfficientNet as transformers names it")
        values = [_oriented(layer, tensors[name]) for name in names]
        for tensor, value, variable in zip(names, values, layer.weights, strict=True):
            if value.shape != tuple(variable.shape):
                raise UserError(f"{where}: {tensor} has shape {value.shape} here, expected {tuple(variable.shape)}")
        layer.set_weights(values)
        used |= set(names)
    fold(backbone, preprocessing)
    return used


def _tensor_names(layer: tf_keras.layers.Layer) -> list[str]:
    """Returns the names in torch of a layer's weights, in the order of tf_keras."""
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        return ["weight", "bias", "running_mean", "running_var"]
    return ["weight", "bias"][: len(layer.weights)]


def _oriented(layer: tf_keras.layers.Layer, tensor: np.ndarray) -> np.ndarray:
    """Returns a tensor of torch with its axes in TensorFlow's order: [out, in, h, w] → [h, w, in, out]."""
    if tensor.ndim < 4:
        return tensor
    depthwise = isinstance(layer, tf_keras.layers.DepthwiseConv2D)  # [out, 1, h, w] → [h, w, out, 1]
    return tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def fold(backbone: tf_keras.Model, preprocessing: Preprocessing) -> None:
    """Makes an EfficientNet that expects `preprocessing` one that expects the student's normalized images."""
    layers = garden.efficientnet_layers(backbone)
    (kernel,) = layers["stem"].get_weights()
    gamma, beta, mean, variance = layers["stem_norm"].get_weights()
    zero, one = preprocessing(np.asarray(MEAN)), preprocessing(np.add(MEAN, DEVIATION))  # student's 0 and 1
    layers["stem"].set_weights([kernel * (one - zero)[:, np.newaxis]])
    layers["stem_norm"].set_weights([gamma, beta, mean - np.einsum("hwio,i->o", kernel, zero), variance])


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    library = optional("safetensors", "hf")
    if not path.is_file():
        raise UserError(f"{path}: no such file; save the model with save_pretrained, as safetensors in one file")
    try:
        with library.safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if not name.endswith(_COUNTER)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except library.SafetensorError as error:
        raise UserError(f"{path}: is damaged ({error}); save the model again") from None
    except TypeError as error:  # numpy has no bfloat16
        raise UserError(f"{path}: {error}; save the model in float32") from None


if __name__ == "__main__":
    run(sys.argv[1:])
