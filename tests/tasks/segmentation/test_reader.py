import numpy as np
import pytest
import toy
import yaml
from scipy.special import expit

from must_tf.errors import UserError
from must_tf.tasks import Segmentation
from must_tf.tasks.reader import Slot
from must_tf.tasks.segmentation.reader import SegmentationReader

VIEW = (8, 12)
RNG = np.random.default_rng(0)


def test_pixels_of_a_dropped_class_have_no_label():
    card = toy.card("segmentation", class_names=("a", "b"), activation="probabilities", classes={"b": "b"})
    probs = np.zeros((1, *VIEW, 2))
    probs[:, :, :6, 0] = probs[:, :, 6:, 1] = 1
    task = toy.task_of(card)
    label = task.pseudo_label({name: values[0] for name, values in toy.read(VIEW, card, probs=probs).items()})
    assert (label[:, :6] == task.ignore).all() and (label[:, 6:] == 0).all()


@pytest.mark.parametrize("activation", ["probabilities", "logits", "sigmoid"])
def test_one_channel_of_two_classes_is_that_of_the_second(activation):
    values = RNG.uniform(0.01, 0.99, (2, *VIEW, 1))
    second = values if activation == "probabilities" else expit(values)
    card = toy.card("segmentation", class_names=("background", "thing"), activation=activation)
    np.testing.assert_allclose(
        toy.read(VIEW, card, probs=values)["probs"], np.concatenate([1 - second, second], -1), rtol=1e-5
    )


def test_masks_of_class_ids_are_certain():
    mask = RNG.integers(0, 3, (2, *VIEW))
    card = toy.card("segmentation", class_names=("a", "b", "c"), outputs={"mask": "m"})
    found = toy.read(VIEW, card, mask=mask)["probs"]
    np.testing.assert_array_equal(found.argmax(-1), mask)
    assert (found.sum(-1) == 1).all() and card.reader.impossible({"mask": mask}) is None


@pytest.mark.parametrize(("value", "fields"), [(2, {}), (-1, {}), (3, {"background_first": True}), (255, {})])
def test_a_mask_with_an_id_that_is_no_class_contradicts_its_card(value, fields):
    card = toy.card("segmentation", class_names=("a", "b"), outputs={"mask": "m"}, **fields)
    mask = np.zeros((1, *VIEW), np.float32)
    mask[0, 0, 0] = value
    assert f"class_names: 2 names, but mask has the value {value} on an image" in card.reader.impossible({"mask": mask})
    card = toy.card("segmentation", class_names=("a", "b"), outputs={"mask": "m"}, mask_values=(0, 1))
    assert card.reader.impossible({"mask": mask}) is None


def test_masks_of_other_values_than_class_ids_are_told_by_the_card():
    ids = RNG.integers(0, 3, (2, *VIEW))  # 2 is no class
    card = toy.card("segmentation", class_names=("rest", "thing"), outputs={"mask": "m"}, mask_values=(255, 7))
    found = toy.read(VIEW, card, mask=np.array([255, 7, 0])[ids])["probs"]
    np.testing.assert_array_equal(found.argmax(-1)[ids < 2], ids[ids < 2])
    assert not found[ids == 2].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask_values": (0,)}, r"mask_values: \[0\] received; expected one value for each of 2"),
        ({"mask_values": (1, 1)}, r"mask_values: \[1, 1\] received"),
        ({"mask_values": (0, 255), "background_first": True}, "background_first: True received"),
    ],
)
def test_mask_values_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        toy.card("segmentation", class_names=("a", "b"), outputs={"mask": "m"}, **fields)


def test_mask_values_need_a_mask():
    card = toy.card("segmentation", class_names=("a", "b"), mask_values=(0, 255), activation="logits")
    with pytest.raises(ValueError, match="mask_values: given, but the model has no mask"):
        card.reader.needed({})


def test_logits_at_a_quarter_are_enlarged_before_a_class_is_chosen():
    logits = np.zeros((1, 3, 4, 4))
    logits[:, 1, :, :2] = logits[:, 2, :, 2:] = 9
    card = toy.card("segmentation", class_names=("building", "road", "sky"), activation="logits", layout="NCHW")
    classes = toy.read((16, 16), card, probs=logits)["probs"].argmax(-1)
    assert (classes[..., :8] == 1).all() and (classes[..., 8:] == 2).all()


OVERLAPPING = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.1]])


def test_classes_that_overlap_are_refused_until_the_card_says_what_their_label_is():
    values = np.broadcast_to(OVERLAPPING[:, None], (2, *VIEW[1:], 3))[None]  # a row of pixels of each
    fields = {"class_names": ("a", "b", "c"), "activation": "probabilities"}
    refused = toy.card("segmentation", **fields).reader.unlikely({"probs": values.astype(np.float32)}, VIEW)
    assert "50% of pixels have several classes on gray" in refused and "overlap: ignore" in refused
    for overlap, first in (("best", 0), ("ignore", 255)):
        card = toy.card("segmentation", overlap=overlap, **fields)
        assert card.reader.unlikely({"probs": values.astype(np.float32)}, VIEW) is None
        task = toy.task_of(card)
        label = task.pseudo_label({"probs": toy.read((2, VIEW[1]), card, probs=values)["probs"][0]})
        assert (label[0] == first).all() and (label[1] == 0).all()
    softmax = np.full((1, *VIEW, 2), 0.5, np.float32)
    assert (
        toy.card("segmentation", **fields | {"class_names": ("a", "b")}).reader.unlikely({"probs": softmax}, VIEW)
        is None
    )


@pytest.mark.parametrize("activation", ["sigmoid", "logits"])
@pytest.mark.parametrize("names", [("rest", "thing"), ("a", "b", "c")])
def test_second_activation_is_refused(activation, names):
    """A sigmoid of the probability of a thing is above 0.5 everywhere: all pixels would be things."""
    channels = 1 if len(names) == 2 else 3
    values = RNG.uniform(0.01, 0.3, (2, *VIEW, channels)).astype(np.float32)
    reader = toy.card("segmentation", class_names=names, activation=activation).reader
    assert "on gray, as after an activation; give activation: probabilities" in reader.unlikely({"probs": values}, VIEW)
    assert reader.unlikely({"probs": values - 1}, VIEW) is None


@pytest.mark.parametrize("shape", [(1, 64, 48), (None, 64, 48, 1), (1, 1, 64, 48), (64, 48), (None, None, None)])
def test_map_of_whole_numbers_is_drafted_as_a_mask(shape):
    slots = [Slot("y", shape, "int64")]
    assert SegmentationReader.likeness(slots) == 3
    assert "mask:" in "\n".join(SegmentationReader.draft(slots, {}))


def test_a_map_of_one_channel_is_drafted_as_that_of_the_second_class():
    """A softmax of one channel is 1, and a card of one class and logits is refused."""
    fields = yaml.safe_load("\n".join(SegmentationReader.draft([Slot("y", (1, 1, 64, 48), "float32")], {})))
    reader = toy.card("segmentation", **fields).reader
    assert reader.is_binary(1) and reader.activation == "logits"


@pytest.mark.parametrize("shape", [(1, 100), (None, 100), (None, 100, 4), (1,), (None, 64, 48, 3)])
def test_other_whole_numbers_are_no_mask(shape):
    assert SegmentationReader.likeness([Slot("y", shape, "int64")]) < 3


def test_much_that_is_ignored_or_one_class_everywhere_is_doubted():
    task = Segmentation("t", ("rest", "thing"))
    half = np.zeros((8, 8), int)
    half[:, :4] = 255
    assert "50% of pixels are ignored, and 'thing' never occurs; mask_values" in task.implausible([half])
    assert "all pixels of 4 images are 'rest'" in task.implausible([np.zeros((8, 8), int)] * 4)
    both = np.zeros((8, 8), int)
    both[0] = 1
    assert task.implausible([both]) is None
    assert task.implausible([both, np.where(both, 255, 0)]) is None
