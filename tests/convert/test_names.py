import re

import pytest

from must_tf.convert.names import Names
from must_tf.errors import UserError
from must_tf.records import Record


def record(filename, format="PNG", id="0123456789abcdef"):
    return Record(b"", format, 1, 1, id, filename=filename)


@pytest.fixture
def names(tmp_path):
    def make(written=True, **how):
        return Names(tmp_path / "names", written, **how)

    return make


@pytest.mark.parametrize(
    ("filename", "format", "name"),
    [
        ("a/b.PNG", "PNG", "a/b.PNG"),
        ("scan.tiff", "PNG", "scan.png"),
        ("turned.jpg", "PNG", "turned.png"),
        ("photo.jpeg", "JPEG", "photo.jpeg"),
        ("no suffix", "JPEG", "no suffix.jpg"),
        ("v1.2", "PNG", "v1.png"),
        ("Bild\u202f1 ä.png", "PNG", "Bild\u202f1 ä.png"),
        ("", "JPEG", "0123456789abcdef.jpg"),
        ("../b.png", "PNG", "0123456789abcdef.png"),
        ("/etc/b.png", "PNG", "0123456789abcdef.png"),
        (".thumbs/b.png", "PNG", "0123456789abcdef.png"),
        ("two\nlines.png", "PNG", "0123456789abcdef.png"),
        ("\udcff.png", "PNG", "0123456789abcdef.png"),
    ],
)
def test_a_file_keeps_its_name_with_the_suffix_of_what_is_stored(names, filename, format, name):
    assert names().name(record(filename, format)) == name


@pytest.mark.parametrize(("written", "by_stem", "hidden"), [(False, True, 2), (True, True, 0), (False, False, 0)])
def test_hidden_files_of_labels_are_counted(names, written, by_stem, hidden):
    """Readers pass over `.a.txt`, which is the label of `.a.png` where images stay where they are."""
    given = names(written, by_stem=by_stem)
    for name in (".a.png", ".b/c.png", "d.png"):
        given.name(record(name))
    assert given.hidden == hidden


@pytest.mark.parametrize(
    "identity", ["../../home/x", "/etc/x", "a/b", ".x", "", "two\nlines", "..", "a b", "\udcff", "x" * 300, "字" * 100]
)
def test_no_id_leads_out_of_the_folder(names, identity):
    """Of records that others have made."""
    given = names()
    found = [given.name(record("", id=identity)) for _ in range(3)] + [given.name(record("a.png", id=identity))] * 2
    assert all(re.fullmatch(r"[0-9a-f]{16}(-[0-9a-f]{16}(-2)?)?\.png|a\.png", name) for name in found), found


def test_no_name_is_too_long_for_a_disk(names, tmp_path):
    """Of records that others have made, or of two files whose names differ in case alone."""
    given, longest = names(), "字" * 82 + ".png"
    wanted = (longest, longest.upper(), "y" * 250, "y" * 252, "字" * 99, f"{'z' * 256}/a.png")
    found = [given.name(record(name)) for name in wanted]
    assert found[0] == longest and len(set(found)) == len(found) and found[1].startswith("字" * 70)
    for name in found:
        (tmp_path / name).touch()


def test_left_where_it_is_a_file_keeps_its_name_whole(names):
    given = names(written=False)
    assert [given.name(record(name)) for name in ("scan.tiff", ".b.png")] == ["scan.tiff", ".b.png"]


def test_names_that_are_taken_get_the_id(names):
    given = names()
    found = [given.name(record(name)) for name in ("a.png", "a.png", "A.png", "a.png")]
    assert found == ["a.png", "a-0123456789abcdef.png", "A-0123456789abcdef-2.png", "a-0123456789abcdef-3.png"]
    assert given.changed == 3


def test_names_of_one_stem_collide_only_where_labels_are_files(names, tmp_path):
    given = names(by_stem=True)
    assert [given.name(record(*one)) for one in (("a.png",), ("a.jpg", "JPEG"))] == ["a.png", "a-0123456789abcdef.jpg"]
    given.close()
    assert not (tmp_path / "names").exists()
    given = names()
    assert [given.name(record(*one)) for one in (("a.png",), ("a.jpg", "JPEG"))] == ["a.png", "a.jpg"]


def test_white_space_goes_where_lists_end_there(names):
    assert names(spaces=False).name(record("a b/c d.png")) == "a_b/c_d.png"


def test_labels_never_go_to_one_of_two_files(names):
    given = names(written=False)
    assert [given.name(record(name)) for name in ("a.png", "A.png")] == ["a.png", "A.png"]
    with pytest.raises(UserError, match=r"0123456789abcdef: its name 'a.png'.*--images=copy"):
        given.name(record("a.png"))


def test_a_folder_that_readers_take_for_another_one_is_left_out_and_names_stay_different(names):
    given = names(no_folder="images")
    wanted = {"images/a.png": "a.png", "a.png": "a-0123456789abcdef.png", "x/images/y/b.png": "x/y/b.png"}
    assert {name: given.name(record(name)) for name in wanted} == wanted
    assert given.name(record("images/images.png")) == "images.png"
