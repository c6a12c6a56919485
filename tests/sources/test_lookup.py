"""Files of labels are found in one order, whatever their names; hidden ones are none."""

import os

from must_tf.sources.lookup import files_under


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
