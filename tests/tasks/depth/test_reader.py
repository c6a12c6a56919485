import numpy as np
import pytest
import toy
from scipy.special import softmax

from must_tf.tasks import KINDS, Depth
from must_tf.tasks.reader import Slot

VIEW = (8, 12)
RNG = np.random.default_rng(0)


def test_maps_come_in_both_layouts_and_with_or_without_channels():
    values = RNG.random((2, *VIEW)) + 0.5
    for array, layout in ((values, "NHWC"), (values[..., None], "NHWC"), (values[:, None], "NCHW")):
        found = toy.read(VIEW, toy.card("depth", layout=layout, convention="metric"), depth=array)["depth"]
        np.testing.assert_allclose(found[..., 0], values, rtol=1e-6)
    probs = softmax(RNG.normal(size=(2, 3, *VIEW)), 1)
    card = toy.card("segmentation", class_names=("a", "b", "c"), activation="probabilities", output_layout="NCHW")
    np.testing.assert_allclose(toy.read(VIEW, card, probs=probs)["probs"], probs.transpose(0, 2, 3, 1), rtol=1e-6)


def test_depth_of_every_convention():
    values = np.array([[0.5, 2.0]]).repeat(8, 0).repeat(6, 1)[None]
    flat = {"metric": values, "metric from inverse": 1 / values, "millimeters": values / 1000}
    metric = toy.card("depth", convention="metric")
    np.testing.assert_allclose(toy.read(VIEW, metric, depth=values)["depth"][..., 0], flat["metric"])
    inverse = toy.card("depth", convention="metric", inverse=True)
    np.testing.assert_allclose(toy.read(VIEW, inverse, depth=values)["depth"][..., 0], flat["metric from inverse"])
    scaled = toy.card("depth", convention="metric", depth_scale=0.001)
    np.testing.assert_allclose(toy.read(VIEW, scaled, depth=values)["depth"][..., 0], flat["millimeters"], rtol=1e-6)
    affine = toy.card("depth", convention="affine_inverse")
    np.testing.assert_allclose(toy.read(VIEW, affine, depth=values)["depth"][..., 0], values)
    relative = toy.card("depth", convention="affine_inverse", inverse=False)
    np.testing.assert_allclose(toy.read(VIEW, relative, depth=values)["depth"][..., 0], 1 / values)
    far = toy.read(VIEW, inverse, depth=np.zeros((1, *VIEW)))["depth"]
    np.testing.assert_allclose(far, 1000)


def test_logarithm_of_depth_or_of_its_inverse():
    values = RNG.uniform(0.5, 8, (2, *VIEW))
    metric = toy.card("depth", convention="metric", log=True)
    np.testing.assert_allclose(toy.read(VIEW, metric, depth=np.log(values))["depth"][..., 0], values, rtol=1e-5)
    inverse = toy.card("depth", convention="metric", log=True, inverse=True)
    np.testing.assert_allclose(toy.read(VIEW, inverse, depth=-np.log(values))["depth"][..., 0], values, rtol=1e-5)


@pytest.mark.parametrize(
    ("scale", "offset", "words"),
    [
        (1000, 0, "farther than 2,500 m, as hardly in a photograph; depth_scale: 0.001"),
        (0.1, 0, "nearer than 0.25 m, as only in close-ups; inverse: true"),
        (1, -4, "have no depth above 0; log: true"),
        (0, 2.5, "is constant in each of 3 images"),
        (1, 0, None),
    ],
)
def test_depths_that_photographs_do_not_have_are_doubted(scale, offset, words):
    ramp = np.linspace(1, 4, 7)[None].repeat(5, 0)
    said = Depth("t").implausible([ramp * scale + offset] * 3)
    assert words in said if words else said is None


def test_inverse_depth_has_no_unit_that_could_be_wrong():
    task, ramp = Depth("t", convention="affine_inverse"), np.linspace(-1, 4000, 7)[None]
    assert task.implausible([ramp]) is None
    assert "is constant" in task.implausible([ramp * 0, ramp * 0])


@pytest.mark.parametrize(
    "name, shape, names",
    [
        ("predicted_depth", (1, 518, 518), ""),
        ("depth", (64, 64), ""),
        ("depth", (None, None), ""),
        ("Disparity", (192, 640), ""),
        ("output", (64, 64), "depth_anything.onnx x"),
        ("output", (1, 192, 640), "monodepth.onnx x"),
        ("output", (None, None, None), "model.onnx depth_input"),
    ],
)
def test_maps_of_few_axes_that_are_named_depth_are_depth(name, shape, names):
    slots = [Slot(name, shape, "float32")]
    assert KINDS["depth"].reader.likeness(slots, names) == 3
    assert KINDS["segmentation"].reader.likeness(slots, names) < 3 > KINDS["classification"].reader.likeness(slots)


@pytest.mark.parametrize(
    "name, shape, names",
    [
        ("output", (1, 518, 518), "model.onnx x"),
        ("output", (64, 64), "model.onnx x"),
        ("output", (1, 64, 64), "depthwise.onnx x"),
        ("output", (1, 84, 8400), "yolo_with_depth.onnx x"),
        ("output", (1, None, 384), "depth.onnx x"),
        ("depth", (1, 10), ""),
        ("depth", (1,), ""),
    ],
)
def test_few_axes_alone_are_never_depth(name, shape, names):
    assert KINDS["depth"].reader.likeness([Slot(name, shape, "float32")], names) == 0
