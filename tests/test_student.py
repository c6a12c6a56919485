import dataclasses
from typing import ClassVar

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy

from must_tf.errors import UserError
from must_tf.pipeline import training_batches
from must_tf.records import open_dataset
from must_tf.student import Student, fuse
from must_tf.tasks import KINDS, Classification, Segmentation
from must_tf.tasks.task import FUSED, POOLED, PYRAMID
from must_tf.training import load_student, save_student
from must_tf.trunk import Trunk

TWINS = (
    toy.STUFF,
    Segmentation("parts", ("leg", "seat")),
    toy.SCENE,
    Classification("color", ("red", "green", "blue", "gray")),
)


@pytest.fixture(scope="module")
def student():
    return Student(toy.TASKS, toy.TRUNK)


@pytest.fixture(scope="module")
def twins():
    return Student(TWINS, toy.TRUNK)


@pytest.fixture(scope="module")
def batch(toy_data):
    return next(iter(training_batches([open_dataset(toy_data)], toy.TASKS, [toy.VIEW], 8)))


def images(height=64, width=64, count=2):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def shake(student, seed=0):
    """Gives every weight a value that no fresh student has."""
    rng = np.random.default_rng(seed)
    for variable in student.variables:
        variable.assign(variable + rng.uniform(0.01, 0.1, variable.shape))
    return student


def test_tasks_of_one_kind_have_heads_of_their_own(twins):
    predictions = twins(images())
    assert {name: value.shape[-1] for name, value in predictions.items()} == {
        "stuff": 3,
        "parts": 2,
        "scene": 3,
        "color": 4,
    }
    weights = {name: {id(v) for v in head.variables} for name, head in twins.heads.items()}
    assert not weights["stuff"] & weights["parts"] and not weights["scene"] & weights["color"]


def test_every_weight_is_in_the_trunk_or_in_one_head(twins):
    parts = [twins.backbone, twins.decoder, *twins.heads.values()]
    assert sum(len(part.variables) for part in parts) == len(twins.variables)


def test_every_trainable_weight_gets_a_gradient(student, toy_data):
    inputs, targets = next(iter(training_batches([open_dataset(toy_data)], toy.TASKS, [(128, 128)], 4)))
    anchors = tf.constant([[4.0, 4, 20, 20], [24, 24, 56, 56], [16, 16, 80, 80]]) / 128  # one of each level
    things = {"boxes": tf.tile(anchors[tf.newaxis], [4, 1, 1]), "classes": tf.tile([[0, 1, 1]], [4, 1])}
    targets = targets | {"things": things | {"present": tf.ones(4, tf.bool)}}
    with tf.GradientTape() as tape:
        loss = tf.add_n(list(student.losses_by_task(targets, student(inputs, training=True)).values()))
    gradients = tape.gradient(loss, student.trainable_variables)
    for variable, gradient in zip(student.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), variable.name
        assert np.any(gradient), variable.name


def test_task_moves_its_own_head_and_the_trunk_and_no_other_head(student, batch):
    inputs, targets = batch
    with tf.GradientTape(persistent=True) as tape:
        losses = student.losses_by_task(targets, student(inputs, training=True))
    for name, loss in losses.items():
        for other, head in student.heads.items():
            gradients = tape.gradient(loss, head.trainable_variables)
            assert any(gradient is not None for gradient in gradients) == (name == other)
        assert any(np.any(g) for g in tape.gradient(loss, student.backbone.trainable_variables) if g is not None)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 32), (160, 64)])
def test_any_multiple_of_32_goes_in(student, size):
    outputs = student.infer(images(*size))
    assert outputs["stuff"]["probs"].shape == (2, *size, 3)
    assert outputs["depth"]["depth"].shape == (2, *size, 1)
    assert outputs["normals"]["normals"].shape == (2, *size, 3)
    features = student.features(images(*size))
    assert {name: value.shape[1:3] for name, value in features.items()} == {
        "C5": (size[0] // 32, size[1] // 32),
        **{f"P{level}": (size[0] // 2**level, size[1] // 2**level) for level in (3, 4, 5)},
    }


@pytest.mark.parametrize("size", [(65, 64), (64, 33)])
def test_other_sizes_are_refused(student, size):
    with pytest.raises(UserError, match=f"{size[0]}x{size[1]}.*multiples of 32"):
        student(images(*size))


def test_uint8_and_float_images_give_the_same(student):
    tf.nest.map_structure(np.testing.assert_array_equal, student(images()), student(tf.cast(images(), tf.float32)))


def test_prediction_of_an_image_does_not_depend_on_its_batch(student):
    together, alone = student(images(count=3)), student(images(count=3)[1:2])
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a[1:2], b, atol=1e-4), together, alone)


def test_keras_fit_trains_on_batches_of_tensorflow_data(toy_data):
    student = Student([toy.SCENE, toy.DEPTH], toy.TRUNK)
    student.compile(tf_keras.optimizers.SGD(0.01), loss_weights={"depth": 2.0})
    before = [variable.numpy() for variable in student.trainable_variables]
    batches = training_batches([open_dataset(toy_data)], [toy.SCENE, toy.DEPTH], [toy.VIEW], 4)
    history = student.fit(batches, steps_per_epoch=2, epochs=2, verbose=0).history
    assert set(history) == {"loss", "gradient_norm", "loss/scene", "loss/depth"}
    for total, scene, depth in zip(history["loss"], history["loss/scene"], history["loss/depth"], strict=True):
        assert total == pytest.approx(scene + 2 * depth, rel=1e-5)
    moved = [np.any(a != b) for a, b in zip(before, student.trainable_variables, strict=True)]
    assert all(moved)
    assert student.evaluate(batches.take(1), verbose=0, return_dict=True)["loss"] > 0


@dataclasses.dataclass(frozen=True)
class Taps(Classification):
    """A head on several taps, which sees the target."""

    taps: ClassVar[tuple[str, ...]] = (POOLED, PYRAMID, FUSED)
    head_sees_target: ClassVar[bool] = True

    def head(self, trunk):
        return TapsHead(self.num_classes)


class TapsHead(tf_keras.layers.Layer):
    def __init__(self, classes):
        super().__init__()
        self.dense = tf_keras.layers.Dense(classes)

    def call(self, features, training=False, target=None):
        maps = [features[POOLED], features[FUSED], *features[PYRAMID].values()]
        logits = self.dense(tf.concat([tf.reduce_mean(values, [1, 2]) for values in maps], -1))
        return logits if target is None else logits + 100 * target["probs"]


@pytest.fixture(scope="module")
def taps():
    return Student([Taps("scene", ("a", "b", "c")), Classification("other", ("x", "y"))], toy.TRUNK)


def test_head_of_several_taps_gets_them_by_tap(taps):
    features = taps.features(images())
    fused = fuse({level: features[f"P{level}"] for level in "345"})
    maps = [features["C5"], fused, *(features[f"P{level}"] for level in "345")]
    kernel, bias = taps.heads["scene"].variables
    want = tf.concat([tf.reduce_mean(values, [1, 2]) for values in maps], -1) @ kernel + bias
    np.testing.assert_allclose(taps(images())["scene"], want, rtol=1e-4, atol=1e-5)


def test_head_sees_the_target_where_a_loss_is_computed_and_nowhere_else(taps):
    probs = tf.one_hot([0, 2], 3)
    targets = {"scene": {"probs": probs, "hard": tf.ones(2, tf.bool)}}
    for training in (False, True):
        seen = taps(images(), training=training, targets=targets)
        assert (tf.argmax(seen["scene"], 1).numpy() == [0, 2]).all() and tf.reduce_max(seen["scene"]) > 50
    plain = taps(images())
    np.testing.assert_allclose(taps(images(), targets=targets)["scene"] - plain["scene"], 100 * probs, atol=1e-3)
    np.testing.assert_array_equal(taps(images(), targets=targets)["other"], plain["other"])
    assert tf.reduce_max(taps.infer(images())["scene"]["probs"]) < 1


def test_fit_and_evaluate_show_the_target_to_heads_that_see_it(taps):
    scene = {"probs": tf.one_hot([0, 2], 3), "hard": tf.ones(2, tf.bool)}
    other = {"probs": tf.one_hot([0, 1], 2), "hard": tf.ones(2, tf.bool)}
    batches = tf.data.Dataset.from_tensors((images(), {"scene": scene, "other": other}))
    taps.compile(tf_keras.optimizers.SGD(0.0))
    assert taps.fit(batches, verbose=0).history["loss/scene"][0] < 1e-3
    assert taps.evaluate(batches, verbose=0, return_dict=True)["loss/scene"] < 1e-3


def test_weights_file_holds_every_weight(student, tmp_path):
    shake(student)
    path = str(tmp_path / "s.weights.h5")
    student.save_weights(path)
    stored = []
    with h5py.File(path) as file:
        file.visititems(lambda name, node: stored.append(name) if isinstance(node, h5py.Dataset) else None)
    assert len([name for name in stored if not name.startswith("optimizer")]) == len(student.variables)
    fresh = Student(toy.TASKS, toy.TRUNK)
    assert not toy.same_weights(fresh, student)
    fresh.load_weights(path)
    assert toy.same_weights(fresh, student)


def test_saved_student_gives_the_same_outputs_to_the_bit(twins, tmp_path):
    shake(twins)
    save_student(twins, tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.architecture == twins.architecture
    assert toy.same_weights(loaded, twins)
    tf.nest.map_structure(np.testing.assert_array_equal, loaded.infer(images()), twins.infer(images()))


def test_mixed_precision_computes_in_bfloat16_and_speaks_float32(tmp_path):
    student = Student(toy.TASKS, toy.TRUNK, "mixed_bfloat16")
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    assert {variable.dtype for variable in student.variables} == {tf.float32}
    assert any(layer.compute_dtype == "bfloat16" for layer in student.backbone.layers)
    outputs = student.infer(images())
    floats = {v.dtype for task in outputs.values() for name, v in task.items() if name != "classes"}
    assert floats == {tf.float32}
    assert {value.dtype for value in student.features(images()).values()} == {tf.float32}
    save_student(student, tmp_path)
    assert toy.same_weights(load_student(tmp_path), student)


def test_classifier_has_no_pyramid():
    student = Student([toy.SCENE], toy.TRUNK)
    assert student.decoder is None and set(student.features(images())) == {"C5"}
    assert not any("fpn" in variable.name for variable in student.variables)


def test_normalization_is_that_of_the_images_mean():
    mean = tf.constant(np.broadcast_to((123.675, 116.28, 103.53), (1, 64, 64, 3)), tf.float32)
    student = Student([toy.SCENE], toy.TRUNK)
    np.testing.assert_allclose(
        student.features(mean)["C5"], student.backbone(tf.zeros_like(mean))["5"], atol=1e-5
    )  # the mean becomes 0


@pytest.mark.parametrize("tasks", [[], [toy.SCENE, Segmentation("scene", ("a",))]])
def test_no_task_and_tasks_of_one_name_are_refused(tasks):
    with pytest.raises(UserError, match="names that differ"):
        Student(tasks, toy.TRUNK)


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if hasattr(kind, "class_names")])
def test_task_without_a_class_is_refused(kind):
    with pytest.raises(UserError, match="task 'boxes': class_names: none received") as error:
        Student([kind("boxes")], toy.TRUNK)
    assert "\n" not in str(error.value)


def test_weight_of_an_unknown_task_is_refused(student):
    with pytest.raises(UserError, match="dept"):
        student.compile("sgd", loss_weights={"dept": 1.0})


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(1, 5, "min_level: 1 received"), (6, 7, "min_level: 6 received"), (5, 4, "min_level 5 and max_level 4 received")],
)
def test_impossible_levels_are_refused(low, high, said):
    with pytest.raises(UserError, match=said):
        Trunk(min_level=low, max_level=high)


@pytest.mark.parametrize("levels", [(2, 3), (3, 4, 5), (4,)])
def test_fused_map_is_the_sum_at_level_2(levels):
    pyramid = {str(level): tf.fill([1, 64 >> level, 128 >> level, 5], float(level)) for level in levels}
    fused = fuse(pyramid)
    assert fused.shape == (1, 16, 32, 5)
    np.testing.assert_allclose(fused, float(sum(levels)), rtol=1e-6)


def test_coarse_levels_of_a_deep_pyramid_run_at_any_multiple_of_32():
    student = Student([toy.STUFF], Trunk("resnet-10", 0.25, 3, 7, 8, 0.9))
    assert student(images(96, 160))["stuff"].shape == (2, 24, 40, 3)
