import numpy as np
import toy
from scipy.special import softmax

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
