import numpy as np
import pytest
import toy

from must_tf.tasks.classes import read_names

CORAL = "0  person\n1  bicycle\n\n3  car\n"


@pytest.mark.parametrize(
    "text, names",
    [
        ("cat\nhot dog\n\n", ("cat", "hot dog")),
        ("tench\ncrane\nhen\ncrane\n", ("tench", "crane 1", "hen", "crane 3")),
        ("???\nperson\n???\ncar\n", ("???", "person", "???", "car")),
        ("N/A\nperson\nn/a\n", ("N/A", "person", "n/a")),
        (CORAL, ("person", "bicycle", "n/a", "car")),
        ("0 person\n1 bicycle", ("0 person", "1 bicycle")),  # as before: no id is missing
        ("1: cat\n2: dog", ("n/a", "cat", "dog")),
        ("3 doors\n5 doors\ncar", ("3 doors", "5 doors", "car")),
    ],
)
def test_names_stand_at_their_ids(text, names):
    assert read_names(text) == names


def test_ids_without_a_class_give_no_label():
    names = ["???", "cat", "n/a", "dog"]
    card = toy.card("classification", class_names=names, activation="logits")
    logits = np.log([[0.4, 0.1, 0.2, 0.3]])
    assert toy.task_of(card).class_names == ("cat", "dog")
    np.testing.assert_allclose(toy.read((8, 8), card, probs=logits)["probs"], [[0.25, 0.75]], rtol=1e-5)
    assert card.reader.num_outputs == 4
    mapped = toy.card("classification", class_names=names, activation="logits", classes={"dog": "animal"})
    assert mapped.reader.label_of().tolist() == [-1, -1, -1, 0]


@pytest.mark.parametrize("field, column", [("background_first", 0), ("background_last", 2)])
def test_background_is_no_class(field, column):
    card = toy.card("segmentation", class_names=["a", "b"], activation="probabilities", **{field: True})
    probs = np.insert(np.array([0.2, 0.3]), column, 0.5)
    found = toy.read((1, 1), card, probs=probs[np.newaxis, np.newaxis, np.newaxis])
    np.testing.assert_allclose(found["probs"][0, 0, 0], [0.2, 0.3], rtol=1e-6)
