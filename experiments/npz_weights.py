"""Gives a Keras network the weights of a PyTorch one, out of an .npz file that has them under PyTorch's names."""

import os
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import tf_keras

from must_tf.errors import UserError, one_line

_DAMAGED = (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error)
_PARTS = ("weight", "bias", "running_mean", "running_var")


def load_weights(model: tf_keras.Model, path: str | os.PathLike, whose: str, unused: tuple[str, ...] = ()) -> None:
    """Sets all weights of a network whose layers have the names of the PyTorch modules.

    The file is what `np.savez(path, **{name: tensor.numpy() for ...})` writes of a state dict. A layer without a bias
    whose name is itself an array of the file, such as a factor, takes that one.

    Args:
      model: gets the weights.
      path: of the .npz file.
      whose: the network, for messages.
      unused: how the names of arrays begin that the network does without; counters of batches are left out too.

    Raises:
      UserError: the file cannot be read, or lacks an array, has one of another shape, or one that no layer takes.
    """
    try:
        with np.load(path) as file:
            tensors = {name: file[name] for name in file.files}
    except _DAMAGED as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}; expected an .npz file of weights") from error
    left = {name for name in tensors if not (name.startswith(unused) or name.endswith("num_batches_tracked"))}
    for layer in model.layers:
        if layer.weights:
            names = [layer.name] if layer.name in tensors else [f"{layer.name}.{part}" for part in _PARTS]
            shapes = [tuple(weight.shape) for weight in layer.weights]
            names = names[: len(shapes)]
            layer.set_weights([_array(tensors, *pair, path, whose) for pair in zip(names, shapes, strict=True)])
            left -= set(names)
    if left:
        raise UserError(f"{path}: unknown arrays {sorted(left)[:5]}; expected the weights of {whose}")


def _array(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], path, whose: str) -> np.ndarray:
    """Returns an array of the file in Keras's layout, which has the given shape."""
    if name not in tensors:
        raise UserError(f"{path}: no array {name!r}; expected the weights of {whose}")
    value = tensors[name]
    if value.ndim == 4:  # [outputs, inputs, h, w], transposed [inputs, outputs, h, w], depthwise [channels, 1, h, w]
        depthwise = value.shape[1] == 1 and shape[2] == value.shape[0]
        value = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    elif value.ndim < 2 and value.size == np.prod(shape):  # a slope for each channel, a factor
        value = value.reshape(shape)
    if value.shape != shape:
        raise UserError(f"{path}: {name} has the shape {list(tensors[name].shape)}, which is not that of {whose}")
    return value
