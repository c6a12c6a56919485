import importlib.util
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.export import FORMATS, plain
from must_tf.export.images import made_images
from must_tf.student import Student
from must_tf.tasks import Classification, Depth
from must_tf.trunk import Trunk

KERAS = FORMATS["keras"]
FACTS = {"normalization": {"inside": True}}
SIZES = ((64, 64), (96, 160))
LOADER = """
import sys
sys.modules.update(dict.fromkeys(["must_tf", "tf_keras", "official"]))  # importing one is an error
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: keras.ops.convert_to_numpy(values) for name, values in model(images).items()})
print(keras.backend.backend(), "tensorflow" in sys.modules)
"""


def assert_close(given, wanted):
    assert set(given) == set(wanted)
    for name in wanted:
        assert np.abs(given[name] - wanted[name]).max() <= 1e-5 * np.abs(wanted[name]).max(), name


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    file = tmp_path_factory.mktemp("keras") / KERAS.path("backbone")
    KERAS.write(run[1], "backbone", file, FACTS)
    return file


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_outputs_are_the_students_for_uint8_and_float(run, file, size, batch):
    images = np.rint(made_images(batch, size))
    wanted = run[1].features(images)
    for dtype in (np.uint8, np.float32):
        assert_close(KERAS.load(file)(images.astype(dtype)), wanted)


@pytest.mark.parametrize(
    "trunk", [Trunk("resnet-50", 0.25, 3, 7, 16), Trunk("resnet-18", 0.25, 2, 4, 16), Trunk("resnet-10", 0.25, 5, 6, 8)]
)
def test_any_resnet_and_any_pyramid(trunk):
    student = Student([Depth("depth")], trunk)
    model = plain.build(keras, student)
    images = made_images(2, (96, 64))
    assert_close(model(images), student.features(images))
    trunk_weights = student.backbone.weights + student.decoder.weights
    assert len(model.weights) == len(trunk_weights)
    assert len(model.trainable_weights) == sum(weight.trainable for weight in trunk_weights)


def test_a_student_without_pyramid_gives_c5():
    student = Student([Classification("scene", ("a", "b"))], Trunk("resnet-10", 0.25))
    images = made_images(1, (64, 96))
    assert_close(plain.build(keras, student)(images), student.features(images))


def test_normalized_images_where_normalization_is_outside(run):
    student, images = run[1], made_images(1, (64, 64))
    normalized = (images - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    assert_close(plain.build(keras, student, normalize=False)(normalized.astype(np.float32)), student.features(images))


def test_a_weight_without_a_place_is_an_error(run):
    copy = plain._Copy(keras)
    with pytest.raises(RuntimeError, match=r"no place in the export.*lateral_3/kernel"):
        copy.weights([run[1].decoder])


@pytest.mark.parametrize("name", ["mobilenet-v2", "efficientnet-b0"])
def test_another_backbone_names_the_formats_that_work(name):
    student = Student([Classification("scene", ("a", "b"))], Trunk(name))
    with pytest.raises(UserError, match=r"know ResNets only.*--formats=savedmodel,onnx"):
        plain.build(keras, student)


def test_only_built_in_layers_and_no_code(file):
    with zipfile.ZipFile(file) as archive:
        config = archive.read("config.json").decode()
        assert set(archive.namelist()) == {"config.json", "metadata.json", "model.weights.h5"}
    assert "must_tf" not in config and "Lambda" not in config and "official" not in config
    model = keras.saving.load_model(file, safe_mode=True)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    stages = {layer.name.split("_")[0] for layer in model.layers if layer.weights}
    assert stages == {"stage1", "stage2", "stage3", "stage4", "stage5", "fpn"}


def test_gradients_reach_every_weight_and_every_statistic_moves(file):
    backbone = keras.saving.load_model(file, safe_mode=True)
    inputs = keras.Input([64, 64, 3])
    pooled = [keras.layers.GlobalAveragePooling2D()(values) for values in backbone(inputs).values()]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(pooled)))
    before = [np.array(weight) for weight in backbone.weights]
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(made_images(4, (64, 64)), np.array([0, 1, 0, 1]), epochs=2, verbose=0)
    still = [w.path for old, w in zip(before, backbone.weights, strict=True) if np.array_equal(old, w)]
    assert all("post_hoc" in name and name.endswith("bias") for name in still)  # a batch norm follows


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_backend_without_must_tf(run, file, tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    images = made_images(3, (96, 64)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    argv = [sys.executable, "-c", LOADER, file, tmp_path / "images.npy", tmp_path / "out.npz"]
    done = subprocess.run(argv, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [backend, str(backend == "tensorflow")]
    assert_close(np.load(tmp_path / "out.npz"), run[1].features(images))
