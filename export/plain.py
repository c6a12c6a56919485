"""Rebuilds a student's trunk from plain Keras layers, so that it loads without must_tf and Model Garden."""

from types import ModuleType
from typing import Any

import tf_keras

from must_tf.errors import UserError
from must_tf.garden import Block, residual_block
from must_tf.student import DEVIATION, MEAN, Student

_DTYPE = "float32"  # whatever the global policy is where the model is made
_FIELDS: dict[str, tuple[str, ...]] = {
    "Conv2D": ("filters", "kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias"),
    "DepthwiseConv2D": ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias"),
    "BatchNormalization": ("momentum", "epsilon"),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "Activation": ("activation",),
}
_SHORT = {"Conv2D": "conv", "DepthwiseConv2D": "conv", "BatchNormalization": "norm", "MaxPooling2D": "pool"}


def build(keras: ModuleType, student: Student, normalize: bool = True) -> Any:
    """Makes a functional model of a student's trunk, with its weights.

    Layers are named by stage: `stage1_...` (stem) to `stage5_...`, whose last outputs have strides 2^stage (the stem's
    4), then `fpn_...`.

    Args:
      keras: the Keras whose layers are used: the module `keras` or `tf_keras`.
      student: whose backbone and pyramid they are.
      normalize: whether the model takes images in [0, 255], or normalized ones.

    Returns:
      A model: `images` [batch, H, W, 3], H and W multiples of 32 → {`C5`, `P3`, ...} as `Student.features`.

    Raises:
      UserError: the backbone has a layer that has no counterpart here.
    """
    copy = _Copy(keras)
    images = keras.Input([None, None, 3], name="images", dtype=_DTYPE)
    x = copy.new("Rescaling", "normalize", **_rescaling())(images) if normalize else images
    levels = _backbone(copy, student.backbone, x)
    outputs = {"C5": levels["5"]}
    if student.decoder is not None:
        outputs |= _pyramid(copy, student.decoder, levels, student.architecture.trunk.levels)
    model = keras.Model(images, outputs, name="backbone")
    copy.weights([part for part in (student.backbone, student.decoder) if part is not None])
    return model


def pyramid(keras: ModuleType, student: Student) -> Any:
    """Makes a functional model of a student's pyramid alone: `C3`, ... of the backbone → `P3`, ...; see `build`."""
    copy, wanted = _Copy(keras), student.architecture.trunk.levels
    channels = {level: values.shape[-1] for level, values in student.backbone.output.items()}
    levels = {
        str(level): keras.Input([None, None, channels[str(level)]], name=f"C{level}", dtype=_DTYPE)
        for level in range(wanted[0], min(wanted[-1], 5) + 1)
    }
    model = keras.Model(
        {f"C{level}": x for level, x in levels.items()}, _pyramid(copy, student.decoder, levels, wanted)
    )
    copy.weights([student.decoder])
    return model


class _Copy:
    """Makes layers of another Keras that compute the same as the student's layers."""

    def __init__(self, keras: ModuleType):
        self.layers = keras.layers
        self.pairs: list[tuple[Any, Any]] = []  # (the student's, ours) of those with weights

    def new(self, kind: str, name: str, **config: Any) -> Any:
        """Makes a layer of this class."""
        return getattr(self.layers, kind)(name=name, dtype=_DTYPE, **config)

    def like(self, source: tf_keras.layers.Layer, name: str) -> Any:
        """Makes a layer with the settings of a layer of the student; `weights` copies its weights later."""
        kind = type(source).__name__
        if kind not in _FIELDS:
            raise _foreign(source)
        settings = source.get_config()
        layer = self.new(kind, name, **{field: settings[field] for field in _FIELDS[kind]})
        if source.weights:
            self.pairs.append((source, layer))
        return layer

    def weights(self, parts: list[tf_keras.Model]) -> None:
        """Copies the student's weights into the layers, once these are built; every weight must have a place."""
        for source, layer in self.pairs:
            layer.set_weights(source.get_weights())
        copied = {id(weight) for source, _ in self.pairs for weight in source.weights}
        left = [weight.name for part in parts for weight in part.weights if id(weight) not in copied]
        if left:
            raise RuntimeError(f"weights of the student that have no place in the export: {left}")


def _foreign(source: Any) -> UserError:
    return UserError(
        f"formats keras and tf_keras know ResNets only, not layers like {type(source).__name__} "
        f"({source.name}); export with --formats=savedmodel,onnx,torch"
    )


def _rescaling() -> dict[str, list[float]]:
    pairs = list(zip(MEAN, DEVIATION, strict=True))
    return {
        "scale": [1 / deviation for _, deviation in pairs],
        "offset": [-mean / deviation for mean, deviation in pairs],
    }


def _backbone(copy: _Copy, backbone: tf_keras.Model, x: Any) -> dict[str, Any]:
    """Returns the output of each level of a backbone that is a chain of layers and blocks."""
    names = {id(tensor): level for level, tensor in backbone.output.items()}
    levels: dict[str, Any] = {}
    stage, block, last = 1, 0, backbone.input
    for source in backbone.layers[1:]:
        if source.input is not last:
            raise _foreign(source)
        last, kind = source.output, type(source).__name__
        if found := residual_block(source):
            stage, block = max(stage, 2), block + 1
            x = _residual(copy, found, f"stage{stage}_block{block}", x)
        elif kind != "Activation" or source.get_config()["activation"] != "linear":
            short = _SHORT.get(kind) or source.get_config().get("activation", kind)
            x = copy.like(source, f"stage{stage}_{short}")(x)
        if id(last) in names:
            levels[names[id(last)]] = x
            stage, block = int(names[id(last)]) + 1, 0
    return levels


def _residual(copy: _Copy, block: Block, name: str, inputs: Any) -> Any:
    """A residual block of a ResNet: two or three convolutions, and a sum with the shortcut."""
    x = shortcut = inputs
    if block.shortcut:
        conv, norm = block.shortcut
        shortcut = copy.like(norm, f"{name}_norm0")(copy.like(conv, f"{name}_shortcut")(shortcut))
    for i, (conv, norm) in enumerate(block.layers, 1):
        x = copy.like(norm, f"{name}_norm{i}")(copy.like(conv, f"{name}_conv{i}")(x))
        if i == len(block.layers):
            x = copy.new("Add", f"{name}_add")([x, shortcut])
        x = copy.new("Activation", f"{name}_{block.activation}{i}", activation=block.activation)(x)
    return x


def _pyramid(copy: _Copy, decoder: tf_keras.Model, levels: dict[str, Any], wanted: range) -> dict[str, Any]:
    """Model Garden's `FPN`: lateral 1x1, sums from the top down, 3x3 each, coarser levels, batch norms."""

    def like(name: str, level: int, x: Any) -> Any:
        return copy.like(decoder.get_layer(f"{name}_{level}"), f"fpn_{name}_{level}")(x)

    top = min(wanted[-1], 5)
    sums: dict[int, Any] = {top: like("lateral", top, levels[str(top)])}
    for level in range(top - 1, wanted[0] - 1, -1):
        finer = copy.new("UpSampling2D", f"fpn_upsample_{level}", size=2, interpolation="nearest")(sums[level + 1])
        sums[level] = copy.new("Add", f"fpn_add_{level}")([finer, like("lateral", level, levels[str(level)])])
    pyramid = {level: like("post_hoc", level, sums[level]) for level in range(wanted[0], top + 1)}
    for level in range(top + 1, wanted[-1] + 1):
        x = pyramid[level - 1]
        if level > top + 1:
            x = copy.new("Activation", f"fpn_relu_{level}", activation="relu")(x)
        pyramid[level] = like("coarser", level, x)
    return {f"P{level}": like("norm", level, pyramid[level]) for level in wanted}
