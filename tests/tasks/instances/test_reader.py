import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.tasks.instances import masks
from must_tf.tasks.reader import Slot

VIEW = (40, 60)
FIELDS = {
    "class_names": ["cup", "bowl"],
    "suppressed": True,
    "box_format": "xyxy",
    "box_units": "pixels",
    "background_first": True,
    "mask_frame": "box",
}


def card(**fields):
    return toy.card("instances", **(FIELDS | fields))


def outputs(grids, batch=1):
    """Returns two objects of a Mask R-CNN: boxes in pixels, ids from 1 on, a grid of each."""
    return {
        "boxes": np.tile(np.float32([[10, 4, 30, 24], [0, 0, 60, 40]]), (batch, 1, 1)),
        "scores": np.tile(np.float32([0.9, 0.6]), (batch, 1)),
        "classes": np.tile(np.float32([2, 1]), (batch, 1)),
        "masks": np.tile(np.float32(grids), (batch, *[1] * (np.ndim(grids)))),
    }


def label_of(read, given):
    task = toy.task_of(given)
    return task.pseudo_label({key: values[0] for key, values in read.items()})


@pytest.mark.parametrize("channel", [False, True])
def test_masks_over_boxes_as_of_mask_r_cnn(channel):
    grids = np.stack([np.tile([1.0, 0.0], (4, 1)), np.ones((4, 2))])
    given = card()
    found = label_of(toy.read(VIEW, given, **outputs(grids[:, np.newaxis] if channel else grids, 2)), given)
    assert found["classes"].tolist() == [1, 0]
    want = np.zeros(VIEW, bool)
    want[4:24, 10:20] = True
    np.testing.assert_array_equal(masks.decode(found["masks"][0]), want)
    assert masks.area(found["masks"][1]) == 40 * 60


def test_masks_of_one_image_without_a_batch_axis_are_padded():
    given = card()
    arrays = {role: values[0] for role, values in outputs(np.ones((2, 1, 4, 4))).items()}
    regular = given.reader.regular(arrays, 1, True)
    assert regular["masks"].shape == (1, 100, 4, 4) and regular["classes"][0, 2:].max() == -1
    assert given.reader.misfit(regular, 1, False) is None


def test_masks_of_boxes_that_reach_beyond_the_view_are_clipped_with_them():
    given = card()
    arrays = outputs(np.stack([np.tile([1.0, 0.0], (4, 1)), np.ones((4, 2))]))
    arrays["boxes"][0, 0] = [-20, 4, 20, 24]  # its left half, of ones, is outside
    assert label_of(toy.read(VIEW, given, **arrays), given)["classes"].tolist() == [0]


def test_masks_of_bytes_over_the_image_stay_so_and_give_the_same_label():
    given = card(mask_frame="image", box_format=None, box_units=None)
    whole = np.zeros((2, *VIEW))
    whole[0, 3:9, 5:50] = whole[1, 20:22, 7] = 1
    floats = {role: values for role, values in outputs(whole).items() if role != "boxes"}
    found = given.reader.standard(floats | {"masks": floats["masks"].astype(np.uint8)}, False)
    assert found["masks"].dtype == np.uint8 and found["scores"].dtype == np.float32
    same, other = (given.reader.read(one, VIEW) for one in (found, given.reader.standard(floats, False)))
    for name, values in other.items():
        np.testing.assert_array_equal(same[name], values)


def test_masks_over_the_image_of_a_model_of_one_image_are_padded():
    given = card(mask_frame="image", box_format=None, box_units=None)
    whole = np.zeros((2, *VIEW))
    whole[0, 3:9, 5:50] = whole[1, 20:22, 7] = 1
    arrays = {role: values[0] for role, values in outputs(whole).items() if role != "boxes"}
    regular = given.reader.regular(arrays, 1, True)
    assert regular["masks"].shape == (1, 100, *VIEW) and given.reader.misfit(regular, 1, False) is None
    assert given.reader.unlikely(given.reader.standard(regular, False), VIEW) is None
    found = label_of(given.reader.read(given.reader.standard(regular, False), VIEW), given)
    assert [masks.area(rle) for rle in found["masks"]] == [6 * 45, 2]


@pytest.mark.parametrize("frame", ["box", "image"])
def test_boxes_that_are_not_finite_stay_so(frame):
    """The image is then quarantined for that, and not for an error of the model."""
    arrays = outputs(np.ones((2, *VIEW)))
    arrays["boxes"][0, 1, 0] = np.nan
    found = toy.read(VIEW, card(mask_frame=frame), **arrays)
    assert np.isnan(found["boxes"]).any() and found["masks"].shape[:2] == (1, 2)


def test_logits_are_as_probabilities():
    grids = np.random.default_rng(0).normal(0, 3, (2, 5, 5))
    probs = 1 / (1 + np.exp(-grids))
    one, other = (
        label_of(toy.read(VIEW, c, **outputs(g)), c) for c, g in ((card(mask_logits=True), grids), (card(), probs))
    )
    assert list(one["masks"]) == list(other["masks"])


def test_masks_over_the_image_have_tight_boxes_where_the_model_has_none():
    whole = np.zeros((2, *VIEW))
    whole[0, 3:9, 5:50] = whole[1, 20:22, 7] = 1
    given = card(mask_frame="image", box_format=None, box_units=None)
    arrays = {role: values for role, values in outputs(whole).items() if role != "boxes"}
    assert given.reader.roles(()) == ({"scores", "classes", "masks"}, {"count"})
    found = label_of(toy.read(VIEW, given, **arrays), given)
    np.testing.assert_allclose(found["boxes"][0] * [*VIEW, *VIEW], [3, 5, 9, 50], rtol=1e-6)
    for rle, mask in zip(found["masks"], whole, strict=True):
        np.testing.assert_array_equal(masks.decode(rle), mask)


def test_cards_that_cannot_be_meant_are_refused():
    with pytest.raises(UserError, match="suppressed: False received; expected true"):
        card(suppressed=False)
    reader = card().reader
    assert reader.needed(()) == ["suppressed", "mask_frame", "box_format", "box_units"]
    assert "1 masks; expected as many" in reader.misfit(
        outputs(np.ones((2, 4, 4))) | {"masks": np.ones((1, 1, 4, 4))}, 1, False
    )
    of_all_classes = reader.misfit(outputs(np.ones((2, 3, 4, 4))), 1, False)
    assert "shape [1, 2, 3, 4, 4]" in of_all_classes and "one mask of each object" in of_all_classes
    wrong = reader.unlikely(outputs(9 * np.ones((2, 4, 4))), VIEW)
    assert "mask_logits: false, but masks are between 9 and 9" in wrong


def test_draft_names_the_masks():
    slots = [Slot("boxes", (None, 4), "float32"), Slot("labels", (None,), "int64"), Slot("scores", (None,), "float32")]
    slots.append(Slot("masks", (None, 1, 28, 28), "float32"))
    reader = type(card().reader)
    lines = reader.draft(slots, {"task": "instances"})
    assert '  masks: "masks"  # guess' in lines and any(line.startswith("mask_frame: box") for line in lines)
    assert reader.likeness(slots) == 0
