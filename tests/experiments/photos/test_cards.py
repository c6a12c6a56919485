import shutil

import pytest

from must_tf.errors import UserError
from must_tf.experiments.photos import models
from must_tf.experiments.photos.prepare import CARDS, MODELS, class_names
from must_tf.tasks.detection.anchors import make_anchors
from must_tf.teachers import read_card


@pytest.fixture
def cards(tmp_path):
    """Returns a folder with the cards and the class names, as `prepare` writes it."""
    shutil.copytree(CARDS, tmp_path / "cards")
    (tmp_path / "cards" / "imagenet.txt").write_text("\n".join(f"class {i}" for i in range(1000)))
    return tmp_path / "cards"


@pytest.mark.parametrize("task", MODELS)
def test_every_model_has_a_card_of_its_task_with_license_and_source(cards, task):
    card = read_card(cards / f"{task}.yaml")
    assert card.task == task
    assert "unknown" not in (card.license, card.source)


@pytest.mark.parametrize("task", models.MODELS)
def test_teachers_of_public_datasets_have_cards_of_their_tasks(cards, task):
    card = read_card(cards / f"{models.MODELS[task].card}.yaml")
    assert card.task == task and "unknown" not in (card.license, card.source)


def test_yolox_has_a_cell_for_each_of_its_outputs_and_the_classes_of_coco(cards):
    card = read_card(cards / "yolox_nano.yaml")
    assert make_anchors(card.reader.anchors, card.input_size, "card").shape == (3549, 4)
    names = card.reader.class_names
    assert len(names) == 80 and (names[0], names[16], names[79]) == ("person", "dog", "toothbrush")


def test_models_are_written_beside_their_cards_and_missing_ones_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "fetch_all", lambda wanted, cache: {})
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "yolox_nano.onnx").write_bytes(b"model")
    assert models.write_models(tmp_path / "data", tmp_path) == {"detection": "onnx:models/yolox_nano.onnx"}
    assert (tmp_path / "models" / "yolox_nano.onnx").read_bytes() == b"model"
    assert (tmp_path / "models" / "yolox_nano.onnx.card.yaml").is_file()
    said = capsys.readouterr().out
    assert "without the teacher of depth: no tcmonodepth_small.npz" in said and "of classification: no package" in said


def test_number_of_anchors_is_the_detectors_number_of_boxes(cards):
    card = read_card(cards / "detection.yaml")
    assert len(card.reader.class_names) == 23
    assert make_anchors(card.reader.anchors, card.input_size, "card").shape == (1917, 4)


def test_class_names_are_first_synonyms_and_unique():
    script = """
    0: 'tench, Tinca tinca',
    1: 'great white shark, white shark, ' +
        'Carcharodon carcharias',
    2: 'stingray',
    3: "crane",
    4: 'jack-o\\'-lantern',
    5: "yellow lady's slipper, Cypripedium",
    6: 'crane'
    """
    expected = ["tench", "great white shark", "stingray", "crane", "jack-o'-lantern", "yellow lady's slipper"]
    assert class_names(script) == [*expected, "crane (6)"]


def test_gap_in_the_class_names_is_an_error():
    with pytest.raises(UserError, match="entry 2 received, expected 1"):
        class_names("    0: 'a',\n    2: 'b',\n")
