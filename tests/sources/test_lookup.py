"""Files of labels are found in one order, and hidden ones are none; images are found in their folders alone."""

import os
from pathlib import Path

import pytest

from must_tf.errors import UserError
from must_tf.sources.lookup import files_under, locate


def test_files_are_sorted_and_hidden_ones_left_out(tmp_path):
    names = ["b.txt", "a.TXT", "a/x.txt", "a/b/y.txt", "ä.txt", os.fsdecode(b"\xff.txt"), "two\nlines.txt"]
    others = [".h.txt", ".git/z.txt", "@eaDir/z.txt", "a/__MACOSX/z.txt", "a/x.xml", "txt"]
    for name in (*names, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert list(files_under(tmp_path, (".txt",))) == sorted(names, key=os.fsencode)
    assert list(files_under(tmp_path, (".txt", ".xml"))) == sorted([*names, "a/x.xml"], key=os.fsencode)
    assert list(files_under(tmp_path / "none", (".txt",))) == []


@pytest.mark.parametrize("name", ["%2e%2e/out.jpg", "%2e%2e%2Fout.jpg", "x/..%2f..%2fout.jpg", "{}/out.jpg"])
def test_a_coded_name_leads_out_of_no_folder(tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.jpg").touch()
    monkeypatch.chdir(tmp_path / "in")
    name = name.format(str(tmp_path).replace("/", "%2F"))
    with pytest.raises(UserError, match="none of 1 images is there"):
        locate([name], [tmp_path / "in"], None, "labels.json")
    (tmp_path / "in" / "out.jpg").touch()
    assert list(locate([name, "gone.jpg"], [Path()], None, "labels.json")) == ["out.jpg", "gone.jpg"]


def test_a_coded_slash_is_one_of_folders(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/é.jpg").touch()
    for root in (None, str(tmp_path)):
        (found,) = locate(["a%20b%2Fe%CC%81.jpg"], [tmp_path], root, "labels.json")
        assert found == f"{tmp_path}/a b/é.jpg"


def test_uploads_to_label_studio_are_found_with_and_without_their_digits(tmp_path):
    names = ["images/0a1b2c3d-a.jpg", "images/ffffffff-b.jpg"]
    (tmp_path / "a.jpg").touch()
    found = locate(names, [tmp_path], None, "coco:x")
    assert list(found) == [str(tmp_path / "a.jpg"), str(tmp_path / "images/b.jpg")]
    (tmp_path / "ffffffff-b.jpg").touch()
    assert list(locate(names, [tmp_path], None, "coco:x"))[1] == str(tmp_path / "ffffffff-b.jpg")
    (tmp_path / "ffffffff-b.jpg").unlink()
    for unclear in ([*names, "c.jpg"], [*names, "images/1a1b2c3d-a.jpg"]):
        with pytest.raises(UserError, match=r"none of 3 images is there; 'images/0a1b2c3d-a\.jpg' was"):
            locate(unclear, [tmp_path], None, "coco:x")
