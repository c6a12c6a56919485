"""The teachers of the driving experiment have cards that fit the tasks of its students."""

import pytest

from must_tf.experiments.driving import models
from must_tf.experiments.driving.run import plan
from must_tf.experiments.driving.student import RECIPE
from must_tf.sources.bdd100k import VEHICLE_NAMES as VEHICLES
from must_tf.teachers import read_card


@pytest.mark.parametrize("task", models.MODELS)
def test_teachers_have_cards_of_the_classes_that_students_learn_with_license_and_source(task):
    card = read_card(models.MODELS[task].card)
    assert "unknown" not in (card.license, card.source)
    if task == "vehicles":
        assert {*VEHICLES} < {*card.reader.class_names}
        assert any(
            "--classes=vehicles={vehicle: [car, bus, truck, train]}" in stage.command for stage in plan({task: "x:y"})
        )
    else:
        assert card.reader.labels == RECIPE.tasks[task].class_names


def test_models_are_written_with_their_cards_and_missing_ones_are_named(tmp_path, capsys):
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "yolox_nano.onnx").write_bytes(b"model")
    assert models.write_models(tmp_path / "data", tmp_path) == {"vehicles": "onnx:models/yolox_nano.onnx"}
    assert (tmp_path / "models" / "yolox_nano.onnx").read_bytes() == b"model"
    assert (tmp_path / models.card_of("vehicles")).is_file() and not (tmp_path / models.card_of("lanes")).exists()
    card = tmp_path / models.card_of("vehicles")
    card.write_text(card.read_text() + "# mine\n")
    models.write_models(tmp_path / "data", tmp_path)
    assert card.read_text().endswith("# mine\n")
    assert "without the teacher of lanes: no twinlitenet.npz; see github.com" in capsys.readouterr().out
