"""Tests of the forms in which models give maps: the same values in every form give the same outputs."""

import numpy as np
import pytest
import toy

VIEW = (8, 12)
RNG = np.random.default_rng(0)
CARDS = {
    "depth": (1, "depth", {"convention": "metric"}),
    "normals": (3, "normals", {}),
    "three classes": (3, "probs", {"class_names": ("a", "b", "c"), "activation": "probabilities"}),
    "two classes": (2, "probs", {"class_names": ("a", "b"), "activation": "probabilities"}),
    "one channel of two classes": (1, "probs", {"class_names": ("a", "b"), "activation": "probabilities"}),
    "mask": (1, "mask", {"class_names": ("a", "b"), "outputs": {"mask": "m"}}),
}


def forms(values):
    """Yields a map [batch, h, w, C] in each form that models give it in, with the card's layout."""
    batch, height, width, channels = values.shape
    flat = values.reshape(batch, height * width, channels)
    yield "NHWC", values
    yield "NCHW", values.transpose(0, 3, 1, 2)
    for layout in ("NHWC", "NCHW"):  # of the input, which says nothing of a flattened output
        yield layout, flat
        yield layout, flat.transpose(0, 2, 1)
        if channels == 1:
            yield layout, values[..., 0]
            yield layout, flat[..., 0]


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("size", [VIEW, (4, 6), (16, 24)])
def test_every_form_of_a_map_is_the_same_map(name, size):
    channels, role, fields = CARDS[name]
    kind = name if name in ("depth", "normals") else "segmentation"
    values = RNG.integers(0, 2, (2, *size, channels)) if role == "mask" else RNG.uniform(0.1, 0.4, (2, *size, channels))
    results = []
    for layout, array in forms(values):
        results.append(toy.read(VIEW, toy.card(kind, layout=layout, **fields), **{role: array}))
    for result in results[1:]:
        for output, array in result.items():
            np.testing.assert_array_equal(array, results[0][output])


@pytest.mark.parametrize("name", CARDS)
def test_the_map_of_one_image_may_lack_the_batch(name):
    channels, role, fields = CARDS[name]
    kind = name if name in ("depth", "normals") else "segmentation"
    values = RNG.uniform(0.1, 0.4, (*VIEW, channels))
    given = [values, values[..., 0]] if channels == 1 else [values]
    for array in given:
        card = toy.card(kind, **fields)
        regular = card.reader.regular({role: array}, 1, True)
        assert regular[role].shape == (1, *array.shape)
        whole = card.reader.regular({role: values[np.newaxis]}, 1, True)
        assert whole[role].shape == (1, *values.shape)
        np.testing.assert_array_equal(
            *(next(iter(toy.read(VIEW, card, **arrays).values())) for arrays in (regular, whole))
        )


def test_flattened_map_of_another_shape_than_the_view_needs_its_size():
    values = RNG.random((2, 6, 6, 1))
    flat = values.reshape(2, 36)
    with pytest.raises(ValueError, match="map_size: nothing received; expected height and width of maps of 36"):
        toy.read(VIEW, toy.card("depth", convention="metric"), depth=flat)
    sized = toy.card("depth", convention="metric", map_size=(6, 6))
    whole = toy.read(VIEW, toy.card("depth", convention="metric"), depth=values)["depth"]
    np.testing.assert_array_equal(toy.read(VIEW, sized, depth=flat)["depth"], whole)
