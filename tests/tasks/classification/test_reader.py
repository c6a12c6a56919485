import numpy as np
import toy
from scipy.special import expit, softmax

VIEW = (8, 12)
RNG = np.random.default_rng(0)


def classifier(**fields):
    return toy.card("classification", **({"class_names": ("a", "b", "c"), "activation": "logits"} | fields))


LOGITS = RNG.normal(0, 2, (5, 3)).astype(np.float32)


def test_logits_probabilities_and_sigmoids_become_probabilities():
    def probs(values, **fields):
        return toy.read(VIEW, classifier(**fields), probs=values)["probs"]

    given, each = softmax(LOGITS, -1), expit(LOGITS)
    np.testing.assert_allclose(probs(LOGITS), given, rtol=1e-5)
    np.testing.assert_allclose(probs(LOGITS[:, None, None]), given, rtol=1e-5)
    np.testing.assert_allclose(probs(given, activation="probabilities"), given, rtol=1e-5)
    np.testing.assert_allclose(probs(LOGITS, activation="sigmoid"), each / each.sum(-1, keepdims=True), rtol=1e-5)


def test_background_is_no_class_and_its_mass_is_shared():
    probs = softmax(LOGITS, -1)[:, 1:]
    found = toy.read(VIEW, classifier(class_names=("b", "c"), background_first=True), probs=LOGITS)["probs"]
    np.testing.assert_allclose(found, probs / probs.sum(-1, keepdims=True), rtol=1e-4)


def test_classes_are_mapped_summed_and_dropped():
    card = classifier(classes={"a": "x", "c": "x"}, task_classes=("y", "x"))
    assert toy.task_of(card).class_names == ("y", "x")
    np.testing.assert_allclose(toy.read(VIEW, card, probs=LOGITS)["probs"], [[0, 1]] * 5, atol=1e-6)
    card = classifier(classes={"c": "z", "a": "x"})
    assert toy.task_of(card).class_names == ("z", "x")
    both = softmax(LOGITS[:, [2, 0]], -1)
    np.testing.assert_allclose(toy.read(VIEW, card, probs=LOGITS)["probs"], both, rtol=1e-4)
