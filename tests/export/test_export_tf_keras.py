import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from must_tf.export import FORMATS
from must_tf.export.images import made_images

TF_KERAS = FORMATS["tf_keras"]
FACTS = {"normalization": {"inside": True}}
LOADER = """
import sys
sys.modules.update(dict.fromkeys(["must_tf", "official"]))  # importing one is an error
import numpy as np
import tf_keras
model = tf_keras.models.load_model(sys.argv[1])
np.savez(sys.argv[3], **{name: values.numpy() for name, values in model(np.load(sys.argv[2])).items()})
"""


def assert_close(given, wanted):
    assert set(given) == set(wanted)
    for name in wanted:
        assert np.abs(given[name] - wanted[name]).max() <= 1e-5 * np.abs(wanted[name]).max(), name


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    file = tmp_path_factory.mktemp("tf_keras") / TF_KERAS.path("backbone")
    TF_KERAS.write(run[1], "backbone", file, FACTS)
    return file


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_outputs_are_the_students_for_uint8_and_float(run, file, size, batch):
    images = np.rint(made_images(batch, size))
    for dtype in (np.uint8, np.float32):
        assert_close(TF_KERAS.load(file)(images.astype(dtype)), run[1].features(images))


def test_every_weight_is_stored(run, file, tmp_path):
    trunk = run[1].backbone.weights + run[1].decoder.weights
    model = tf_keras.models.load_model(file)
    assert len(model.weights) == len(trunk)
    model.save_weights(tmp_path / "all.weights.h5")
    stored = []
    with h5py.File(tmp_path / "all.weights.h5") as weights:
        weights.visititems(lambda name, node: stored.append(node.size) if isinstance(node, h5py.Dataset) else None)
    assert sorted(stored) == sorted(int(np.prod(weight.shape)) for weight in trunk)


def test_only_built_in_layers(file):
    model = tf_keras.models.load_model(file, safe_mode=True)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"tf_keras"}
    assert not any("Lambda" in type(layer).__name__ for layer in model.layers)


def test_loads_without_must_tf(run, file, tmp_path):
    images = made_images(2, (96, 64))
    np.save(tmp_path / "images.npy", images)
    argv = [sys.executable, "-c", LOADER, file, tmp_path / "images.npy", tmp_path / "out.npz"]
    done = subprocess.run(argv, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_close(np.load(tmp_path / "out.npz"), run[1].features(images))


def test_gradients_reach_every_weight_and_every_statistic_moves(file):
    model = tf_keras.models.load_model(file)
    before = [weight.numpy() for weight in model.weights]
    with tf.GradientTape() as tape:
        outputs = model(made_images(4, (64, 64)), training=True)
        loss = tf.add_n([tf.reduce_sum(values**3) for values in outputs.values()])
    gradients = tape.gradient(loss, model.trainable_weights)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    moved = {w.name for old, w in zip(before, model.weights, strict=True) if not np.array_equal(old, w)}
    assert moved == {weight.name for weight in model.non_trainable_weights}
