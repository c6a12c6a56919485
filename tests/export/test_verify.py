import json
import shutil

import pytest

from must_tf import integrity
from must_tf.errors import UserError
from must_tf.export import verify


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of an export, to be damaged."""
    return shutil.copytree(exported[0], tmp_path / "copy")


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_an_export_as_it_was_written_is_whole(exported):
    assert verify(exported[0]) == json.loads((exported[0] / "card.json").read_text())


def test_a_truncated_a_changed_and_a_missing_file_are_named(copy):
    file = copy / "onnx" / "heads.onnx"
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    with pytest.raises(UserError, match=rf"heads\.onnx: has {len(data) - 100} bytes of {len(data)}"):
        verify(copy)
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=r"heads\.onnx: its SHA-256 is not that of card\.json"):
        verify(copy)
    file.unlink()
    with pytest.raises(UserError, match=r"heads\.onnx: is missing"):
        verify(copy)
    verify(copy, under="onnx/backbone.onnx")  # the others are not asked for
    with pytest.raises(UserError, match="holds no keras; export with --formats=keras"):
        verify(copy, under="keras")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "onnx/../../secret", "onnx\\..\\secret"])
def test_a_name_that_leaves_the_folder_is_refused(copy, name):
    (copy.parent / "secret").write_text("x")
    change(copy / "card.json", files={name: {"bytes": 1, "sha256": "00"}})
    with pytest.raises(UserError, match="not inside the export"):
        verify(copy)


def test_a_link_that_leaves_the_folder_is_refused(copy):
    target = shutil.move(copy / "onnx" / "heads.onnx", copy.parent / "heads.onnx")
    (copy / "onnx" / "heads.onnx").symlink_to(target)
    with pytest.raises(UserError, match="not inside the export"):
        verify(copy)


@pytest.mark.parametrize(
    "fields", [{"files": None}, {"files": {"a": "b"}}, {"schema": 99}, {"files": {"a": {"bytes": "1", "sha256": "0"}}}]
)
def test_a_card_that_is_none_is_one_line(copy, fields):
    change(copy / "card.json", **fields)
    with pytest.raises(UserError, match=r"card\.json: (damaged|schema)"):
        verify(copy)


@pytest.mark.parametrize(
    "fields",
    [{"trunk": {"nonsense": 1}}, {"trunk": None}, {"tasks": [{"kind": "depth", "name": "../../x"}]}, {"tasks": 3}],
)
def test_an_architecture_that_is_none_is_one_line(copy, fields):
    change(copy / "architecture.json", **fields)
    with pytest.raises(UserError, match=r"architecture\.json: has \d+ bytes of"):
        verify(copy)
    listed = json.loads((copy / "card.json").read_text())["files"] | integrity.describe_files(copy)
    change(copy / "card.json", files={name: listed[name] for name in listed if name.endswith("architecture.json")})
    with pytest.raises(UserError, match=r"architecture\.json: "):  # even where its SHA-256 is that of the card
        verify(copy)


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no card\.json; expected a folder that `must export` made"):
        verify(tmp_path)
    (tmp_path / "card.json").write_text("[")
    with pytest.raises(UserError, match="not valid JSON"):
        verify(tmp_path)
