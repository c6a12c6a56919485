import re

import numpy as np
import pytest
import toy
from scipy.special import expit, logsumexp, softmax

from must_tf.tasks import Classification
from must_tf.tasks.classification.reader import ClassificationReader
from must_tf.tasks.reader import Slot

VIEW = (8, 12)
RNG = np.random.default_rng(0)


def classifier(**fields):
    return toy.card("classification", **({"class_names": ("a", "b", "c"), "activation": "logits"} | fields))


LOGITS = RNG.normal(0, 2, (5, 3)).astype(np.float32)


def probs(values, **fields):
    return toy.read(VIEW, classifier(**fields), probs=values)["probs"]


def test_logits_and_probabilities_become_probabilities():
    given = softmax(LOGITS, -1)
    np.testing.assert_allclose(probs(LOGITS), given, rtol=1e-5)
    np.testing.assert_allclose(probs(LOGITS[:, None, None]), given, rtol=1e-5)
    np.testing.assert_allclose(probs(given, activation="probabilities"), given, rtol=1e-5)
    assert not toy.task_of(classifier()).multi_label


SIGMOIDS = np.array([[0.02, 0.01, 0.005], [0.9, 0.8, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        (np.log(SIGMOIDS + 1e-20) - np.log1p(-SIGMOIDS), {"activation": "sigmoid"}),
        (SIGMOIDS, {"activation": "probabilities", "multi_label": True}),
    ],
)
def test_sigmoids_stay_as_they_are_and_make_a_multi_label_task(values, fields):
    assert toy.task_of(classifier(**fields)).multi_label
    np.testing.assert_allclose(probs(values, **fields), SIGMOIDS, rtol=1e-5, atol=1e-15)
    mapped = fields | {"classes": {"a": "x", "c": "y", "b": "x"}}  # the likelier of a and b is x
    np.testing.assert_allclose(probs(values, **mapped), SIGMOIDS[:, [0, 2]], rtol=1e-5, atol=1e-15)


def test_sigmoids_of_classes_that_exclude_each_other_sum_to_1_if_the_card_says_so():
    each, fields = expit(LOGITS), {"activation": "sigmoid", "multi_label": False}
    assert not toy.task_of(classifier(**fields)).multi_label
    np.testing.assert_allclose(probs(LOGITS, **fields), each / each.sum(-1, keepdims=True), rtol=1e-5)


def test_softmax_is_not_multi_label():
    card = classifier(multi_label=True)
    with pytest.raises(ValueError, match="multi_label: goes with activation: sigmoid or probabilities"):
        card.reader.needed({})


def test_one_channel_of_two_classes_is_not_multi_label():
    fields = {"activation": "sigmoid", "class_names": ("a", "b")}
    arrays = {"probs": LOGITS[:, :1]}
    assert "give multi_label: false" in classifier(**fields).reader.misfit(arrays, 5, False)
    second = expit(LOGITS[:, :1])
    found = probs(LOGITS[:, :1], **fields, multi_label=False)
    np.testing.assert_allclose(found, np.concatenate([1 - second, second], 1), rtol=1e-5)


def doubt(values, **fields):
    names = tuple(f"class {i}" for i in range(values.shape[-1]))
    return classifier(class_names=names, **fields).reader.unlikely({"probs": values}, VIEW)


def test_probabilities_that_do_not_sum_to_1_are_in_doubt_until_the_card_says_what_they_are():
    message = "probs sum to 0.035 on gray; give multi_label: true for sigmoids, .* or multi_label: false"
    assert re.search(message, doubt(SIGMOIDS, activation="probabilities"))
    for known in (True, False):
        assert doubt(SIGMOIDS, activation="probabilities", multi_label=known) is None
    assert doubt(softmax(LOGITS, -1), activation="probabilities") is None
    rounded = np.rint(softmax(RNG.normal(size=(2, 1000)), -1) * 256) / 256  # as a model of 8 bits has them
    assert abs(rounded.sum(-1) - 1).min() > 0.1 and doubt(rounded, activation="probabilities") is None


def test_second_sigmoid_is_refused():
    after = expit(RNG.normal(-2, 2, (2, 20)))
    assert "as after a sigmoid; give activation: probabilities" in doubt(after, activation="sigmoid")
    assert doubt(RNG.normal(-2, 2, (2, 20)), activation="sigmoid") is None


def test_draft_has_a_line_for_multi_label():
    def draft(known):
        return ClassificationReader.draft([Slot("probs", (None, 3), "float32")], known)

    assert draft({})[-1].startswith("# multi_label: true")
    assert draft({"activation": "probabilities", "multi_label": True})[-1] == "multi_label: true"


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


@pytest.mark.parametrize("activation", ["logits", "sigmoid"])
@pytest.mark.parametrize("classes", [3, 20, 1000])
def test_softmax_of_8_bits_is_not_taken_for_logits(classes, activation):
    rounded = np.rint(softmax(RNG.normal(0, 2, (2, classes)), -1) * 256) / 256
    assert abs(rounded.sum(-1) - 1).max() > 1e-3 or classes == 3
    said = doubt(rounded.astype(np.float32), activation=activation)
    assert "activation: " in said and "probabilities" in said


def test_quantized_sigmoids_are_in_doubt_as_others_are():
    values = np.array([[250, 240, 3], [2, 1, 0]], np.float32) / 256
    assert "give multi_label: true" in doubt(values, activation="probabilities")


def doubt_without_content(logits, **fields):
    names = tuple(f"class {i}" for i in range(np.shape(logits)[-1]))
    return classifier(class_names=names, **fields).reader.doubt(lambda: {"probs": np.asarray(logits, np.float32)})


@pytest.mark.parametrize("classes", [3, 50])
def test_logits_of_independent_classes_are_doubted_where_none_is_there(classes):
    none = RNG.uniform(-6, -3, (4, classes))
    some = np.where(np.arange(classes) < 2, 4.0, none)
    assert "give activation: sigmoid" in doubt_without_content(np.concatenate([some, none[:1]]))
    assert doubt_without_content(some) is None
    for known in ({"multi_label": False}, {"activation": "sigmoid"}):
        assert doubt_without_content(none, **known) is None
    centered = none - none.mean(-1, keepdims=True)  # as a softmax trains them
    assert doubt_without_content(centered) is None
    assert doubt_without_content(centered - logsumexp(centered, -1, keepdims=True)) is None  # log-probabilities
    assert doubt_without_content(np.log(np.full((2, classes), 1 / classes))) is None


@pytest.mark.parametrize("activation", ["sigmoid", "logits"])
@pytest.mark.parametrize(("outputs", "classes"), [(1, 2), (3, 3)])
def test_second_activation_of_few_classes_is_doubted(activation, outputs, classes):
    fields = {"activation": activation, "class_names": ("a", "b", "c")[:classes], "multi_label": False}
    values = RNG.uniform(0.02, 0.4, (14, outputs)).astype(np.float32)

    def doubt(values):
        return classifier(**fields).reader.doubt(lambda: {"probs": values})

    assert f"activation: {activation}, but probs are between 0.0" in doubt(values)
    assert doubt(values - 0.1) is None


def test_labels_as_flat_as_a_softmax_of_probabilities_are_doubted():
    probs = softmax(RNG.normal(0, 3, (4, 50)), -1)
    task = Classification("t", tuple(f"class {i}" for i in range(50)))
    assert task.implausible(list(probs)) is None
    assert "labels are flat" in task.implausible(list(softmax(probs, -1)))
    assert task.implausible([3, 4]) is None
