import numpy as np
import pytest
import toy
from scipy.special import expit

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


def test_masks_of_class_ids_are_certain_and_others_ignored():
    mask = RNG.integers(0, 4, (2, *VIEW))  # 3 is no class
    card = toy.card("segmentation", class_names=("a", "b", "c"), outputs={"mask": "m"})
    found = toy.read(VIEW, card, mask=mask)["probs"]
    np.testing.assert_array_equal(found.argmax(-1)[mask < 3], mask[mask < 3])
    assert not found[mask == 3].any()
