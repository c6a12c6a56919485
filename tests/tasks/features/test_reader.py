"""Tests of cards of backbones: maps in both layouts, tokens, global vectors, and drafts."""

import numpy as np
import pytest
import toy
import yaml

from must_tf.errors import UserError
from must_tf.tasks.features.reader import FeaturesReader
from must_tf.tasks.reader import Slot

VIEW = (32, 64)
MAP = np.random.default_rng(0).normal(size=(2, 4, 8, 40)).astype(np.float32)


def test_maps_in_both_layouts_and_tokens_are_one_grid():
    summary = MAP[:, 0, 0]
    tokens = np.concatenate([summary[:, None], np.zeros((2, 4, 40)), MAP.reshape(2, 32, 40)], 1)
    cards = {
        "NHWC": (toy.card("features"), {"grid": MAP, "summary": summary}),
        "NCHW": (toy.card("features", layout="NCHW"), {"grid": MAP.transpose(0, 3, 1, 2), "summary": summary}),
        "tokens": (toy.card("features", prefix_tokens=5), {"grid": tokens, "summary": tokens}),
        "pooled": (toy.card("features"), {"grid": MAP, "summary": summary[:, None, None]}),
    }
    for card, arrays in cards.values():
        found = toy.read(VIEW, card, **arrays)
        np.testing.assert_array_equal(found["grid"], MAP)
        np.testing.assert_array_equal(found["summary"], summary)


def test_without_a_global_vector_it_is_the_mean_and_a_grid_can_be_averaged():
    found = toy.read(VIEW, toy.card("features", grid_size=[2, 4]), grid=MAP)
    np.testing.assert_allclose(found["summary"], MAP.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(found["grid"], MAP.reshape(2, 2, 2, 4, 2, 40).mean((2, 4)), atol=1e-6)


def test_tokens_that_fill_no_grid_are_named():
    with pytest.raises(ValueError, match="map_size: nothing received; expected height and width of maps of 33 flatt"):
        toy.read(VIEW, toy.card("features"), grid=np.zeros((1, 33, 40)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"components": 0}, "components: 0 received; expected above 0"),
        ({"grid_size": [0, 4]}, "grid_size: .0, 4. received"),
        ({"prefix_tokens": -1}, "prefix_tokens: -1 received"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        toy.card("features", **fields)


@pytest.mark.parametrize(
    ("slots", "outputs"),
    [
        ([Slot("hidden_state", (None, 257, 384), "float32")], {"grid": "hidden_state", "summary": "hidden_state"}),
        ([Slot("pooled", (1, 384), "float32"), Slot("patch_tokens", (1, 256, 384), "float32")],
         {"grid": "patch_tokens", "summary": "pooled"}),
        ([Slot("feature_map", (1, 1280, 7, 7), "float32")], {"grid": "feature_map"}),
    ],
)  # fmt: skip
def test_backbones_are_recognized_and_drafted(slots, outputs):
    assert FeaturesReader.likeness(slots) == 3
    drafted = yaml.safe_load("\n".join(FeaturesReader.draft(slots, {})))
    assert drafted["outputs"] == outputs and drafted["components"] == 64


def test_scores_and_maps_of_few_channels_are_no_features():
    for shape in ((1, 1000), (1, 64, 64, 3), (1, 21, 65, 65)):
        assert FeaturesReader.likeness([Slot("features", shape, "float32")]) == 0
    assert FeaturesReader.likeness([Slot("output", (1, 518, 518), "float32")]) == 0
