"""Weights of PyTorch's networks: damaged files, and arrays of another layout, are refused in one line."""

import numpy as np
import pytest
import tf_keras

from must_tf.errors import UserError
from must_tf.experiments.npz_weights import load_weights


def model():
    layer = tf_keras.layers.Dense(3, use_bias=False, name="layer")
    return tf_keras.Sequential([tf_keras.Input((2,)), layer])


@pytest.mark.parametrize("damage", ["half", "bit", "one array", "nothing", "text"])
def test_damaged_files_are_one_line(damage, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"layer.weight": np.ones((300, 200))})
    content = path.read_bytes()
    if damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        changed = bytes([content[2000] ^ 255])
        damaged = {"half": content[:2000], "bit": content[:2000] + changed + content[2001:], "nothing": b""}
        path.write_bytes(damaged.get(damage, b"no weights"))
    with pytest.raises(UserError, match=r"weights.npz: cannot be read: .*; expected an .npz file of weights") as error:
        load_weights(model(), path, "a network")
    assert "\n" not in str(error.value)


def test_a_matrix_of_another_layout_is_not_taken_for_one_of_as_many_values(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"layer.weight": np.ones((3, 2))})  # of PyTorch's Linear: [outputs, inputs]
    with pytest.raises(UserError, match=r"layer.weight has the shape \[3, 2\], which is not that of a network"):
        load_weights(model(), tmp_path / "weights.npz", "a network")
