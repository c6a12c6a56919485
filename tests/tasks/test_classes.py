import numpy as np
import pytest
import toy

from must_tf.tasks.classes import names_by_id, read_names

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


@pytest.mark.parametrize("text, line", [("cat\n\ndog\n", 2), ("\ncat\ndog", 1), ("0 cat\n1 dog\n \n2 hen\n\n", 3)])
def test_blank_lines_between_names_would_move_ids_and_are_refused(text, line):
    with pytest.raises(ValueError, match=f"^line {line} is empty; expected the name of class {line - 1}, n/a if that"):
        read_names(text)


@pytest.mark.parametrize(
    "names, listed",
    [
        ({}, ()),
        ({0: "cat", 2: "dog"}, ("cat", "n/a", "dog")),
        ({2: "dog", 0: "N/A", 1: ""}, ("N/A", "n/a", "dog")),
        ({0: None, 1: "???", 2: "???"}, ("n/a", "???", "???")),
        ({1: "crane", 3: "crane", 4: " cup\n"}, ("n/a", "crane 1", "n/a", "crane 3", "cup")),
        ({0: "3 doors", 1: "5 doors"}, ("3 doors", "5 doors")),  # a config says ids by itself
        ({0: "hot\ndog", 1: "hot  dog"}, ("hot dog", "hot  dog")),
    ],
)
def test_names_by_id_have_a_place_for_each_id_and_stay_apart(names, listed):
    assert names_by_id(names) == listed


@pytest.mark.parametrize("strange", [-1, 10**6, 10**30])
def test_ids_that_no_model_has_are_refused(strange):
    with pytest.raises(ValueError, match=f"class id {strange} received; expected ids from 0 to 999,999"):
        names_by_id({0: "cat", strange: "dog"})


def test_a_label_file_and_its_names_by_id_give_the_same_classes():
    names = ("N/A", "crane", "n/a", "cup", "???", "crane")
    assert read_names("\n".join(names)) == names_by_id(dict(enumerate(names)))


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
