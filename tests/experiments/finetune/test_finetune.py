import keras
import numpy as np
import pytest
import tf_keras

from must_tf.experiments.finetune import keras2, keras3, tiles
from must_tf.export import export
from must_tf.saving import save_student
from must_tf.student import Student
from must_tf.tasks import Classification
from must_tf.trunk import Trunk


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export of a student with random weights, whose batch norms know what photographs look like."""
    workdir = tmp_path_factory.mktemp("runs")
    tf_keras.utils.set_random_seed(0)
    student = Student([Classification("scene", ("a", "b"))], Trunk("resnet-10", 0.5, norm_momentum=0.5))
    for _ in range(10):
        student.features(tiles.load()[0][0], training=True)
    save_student(student, workdir)
    export(workdir, workdir / "out", formats=["keras", "tf_keras"], sizes=[(64, 64)], batches=[1])
    return workdir / "out"


def test_train_and_test_tiles_are_of_all_classes_and_differ():
    (images, labels), (others, other_labels) = tiles.load()
    assert images.shape == others.shape == (96, 64, 64, 3) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == np.bincount(other_labels).tolist() == [32, 32, 32]
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in others}


@pytest.mark.parametrize("module", [keras2, keras3])
def test_a_fine_tune_learns_the_photographs(folder, module):
    tf_keras.utils.set_random_seed(0)
    keras.utils.set_random_seed(0)
    assert module.main(str(folder)) > 0.6  # by chance: 0.33


def test_the_head_learns_at_ten_times_the_rate_of_the_rest():
    model = keras.Sequential([keras.layers.Dense(3, name="stage5_x"), keras.layers.Dense(2, name="head")])
    model.build([None, 4])
    before = [np.array(layer.kernel) for layer in model.layers]
    model.compile(keras3.Layerwise(1e-3), "mse")
    model.train_on_batch(np.ones([2, 4], np.float32), np.full([2, 2], 9.0, np.float32))
    moved = [np.abs(np.array(layer.kernel) - old).max() for layer, old in zip(model.layers, before, strict=True)]
    np.testing.assert_allclose(moved, [1e-4, 1e-3], rtol=1e-2)  # Adam's first step is the rate
