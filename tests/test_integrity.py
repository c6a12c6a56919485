import json
import shutil

import pytest
import toy

from must_tf import integrity
from must_tf.errors import UserError
from must_tf.export import export
from must_tf.export.loading import load_backbone
from must_tf.export.verify import verify
from must_tf.saving import read_architecture
from must_tf.student import Student
from must_tf.training import finetune
from must_tf.training.initial import load_trunk, weights_prefix

WEIGHTS = "savedmodel/backbone/variables/variables.data-00000-of-00001"


@pytest.fixture
def old(former, tmp_path):
    """A copy of an export of 0.1.0, to be damaged."""
    return shutil.copytree(former / "export", tmp_path / "export")


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_export_of_version_0_1_0_is_verified_loaded_and_started_from(old):
    card = verify(old)
    assert card["must_tf"] == "0.1.0" and card["normalization"]["inside"] and card["lineage"][0]["license"] == "CC0-1.0"
    assert sorted(load_backbone(old, keras=3).output) == ["C5", "P3", "P4"]
    architecture = read_architecture(old)
    student = Student(architecture.tasks, architecture.trunk)
    assert load_trunk(student, old) == ["backbone", "decoder"]


@pytest.mark.parametrize("name", [WEIGHTS, "savedmodel/backbone/variables/variables.index", "architecture.json"])
def test_damaged_weights_are_refused_wherever_they_are_opened(old, name, tmp_path, toy_data):
    student = Student([toy.SCENE], read_architecture(old).trunk)
    damage(old / name)
    with pytest.raises(UserError, match=rf"{name}: its SHA-256 is not that of card\.json"):
        weights_prefix(old)
    if name != "architecture.json":
        for where in (old, old / "savedmodel" / "backbone" / "variables" / "variables"):  # as a checkpoint, too
            with pytest.raises(UserError, match="its SHA-256 is not that of card"):
                load_trunk(student, where)
        with pytest.raises(UserError, match="its SHA-256 is not that of card"):
            finetune(toy.experiment(toy_data, tasks=[toy.SCENE]), str(old), tmp_path / "run")


def test_weights_of_another_export_are_refused(old, tmp_path):
    (old / WEIGHTS).write_bytes(b"of another student")
    with pytest.raises(UserError, match=r"variables\.data-00000-of-00001: has 18 bytes of \d+"):
        weights_prefix(old)


@pytest.mark.parametrize(
    "text", ["[", "3", "{}", '{"schema": 2}', '{"schema": 2, "files": {"a": 1}}', '{"schema": [[[[1]]]]}', "[" * 10**5]
)
def test_a_damaged_card_is_one_line_wherever_it_is_read(old, text):
    (old / "card.json").write_text(text)
    for read in (verify, weights_prefix, load_backbone):
        with pytest.raises(UserError, match=r"card\.json: ") as error:
            read(old)
        assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_an_export_without_its_card_or_without_the_weights_in_it_is_refused(old):
    card = json.loads((old / "card.json").read_text())
    del card["files"][WEIGHTS], card["files"][WEIGHTS.replace("data-00000-of-00001", "index")]
    (old / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="holds no savedmodel/backbone/variables"):
        weights_prefix(old)
    (old / "card.json").unlink()
    with pytest.raises(UserError, match=r"export: no card\.json"):
        weights_prefix(old)


def test_a_checkpoint_for_model_garden_in_an_export_is_checked(classifier_run, tmp_path):
    out = tmp_path / "out"
    export(classifier_run, out, ["garden"], sizes=[(64, 64)], batches=[1])
    assert weights_prefix(out / "garden") == str(out / "garden" / "ckpt-1")
    damage(out / "garden" / "ckpt-1.data-00000-of-00001")
    with pytest.raises(UserError, match="its SHA-256 is not that of card"):
        weights_prefix(out / "garden")


def test_files_are_described_and_checked(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"abc")
    listed = integrity.describe_files(tmp_path)
    assert list(listed) == ["a/b"] and listed["a/b"]["bytes"] == 3
    integrity.check_files(tmp_path, listed, "list.json")
    damage(tmp_path / "a" / "b")
    with pytest.raises(UserError, match=r"a/b: its SHA-256 is not that of list\.json"):
        integrity.check_files(tmp_path, listed, "list.json")
