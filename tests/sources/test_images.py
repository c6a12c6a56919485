"""Finding image files, naming them, and quarantining those that cannot be read."""

import builtins
import json
import os
import pickle
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record
from must_tf.sources.images import find_images, open_images, printable, read_image, read_images, split_evenly


def picture(path, seed=0):
    """Writes a small image that depends on the seed, and returns its path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(toy.png(toy.random_image(np.random.default_rng(seed), 8, 8)))
    return str(path)


def found_in(folder):
    return [str(Path(name).relative_to(folder)) for name in find_images(folder)]


# Folders


def test_folder_is_searched_recursively_and_sorted(tmp_path):
    names = ["b.JPG", "a/with space.png", "a/ünï—写真.jpeg", "a/line\nbreak.png", "a/b/c.gif", "z.webp", "a.jpg/in.tif"]
    for name in [*names, "notes.txt", "a/mask.npy", "a/png"]:
        picture(tmp_path / name)
    assert find_images(tmp_path) == sorted(str(tmp_path / name) for name in names)


def test_files_with_other_suffixes_are_counted_on_stderr(tmp_path, capsys):
    for name in ("a.png", "b.MOV", "c/d.mov", "c/notes"):
        picture(tmp_path / name)
    assert open_images(tmp_path, 10).count == 1
    assert capsys.readouterr().err == f"{tmp_path}: 3 files left out by their suffix: 2 .mov, 1 without a suffix\n"
    assert open_images(tmp_path / "a.png", 10).count == 1
    assert not capsys.readouterr().err


def test_circular_links_end(tmp_path):
    picture(tmp_path / "a/x.png")
    picture(tmp_path / "b/y.png")
    for link, target in {"a/up": "..", "a/b": "../b", "b/a": "../a", "self": "self", "self.png": "self.png"}.items():
        (tmp_path / link).symlink_to(target)
    assert found_in(tmp_path) == ["a/x.png", "b/y.png", "self.png"]
    assert "symbolic links" in read_image(tmp_path / "self.png").reason
    pattern = find_images(tmp_path / "**/*.png")
    assert [str(Path(name).relative_to(tmp_path)) for name in pattern] == ["a/x.png", "b/y.png", "self.png"]


def test_file_with_several_paths_is_one_image_under_its_real_path(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    for name in ("deep/1.png", "2.png"):
        picture(outside / name)
    picture(folder / "real.png")
    (folder / "a link.png").symlink_to(folder / "real.png")
    (folder / "b").symlink_to(outside / "deep")
    (folder / "c").symlink_to(outside)
    for name in ("0", "3"):
        (folder / f"{name}.png").symlink_to(outside / "2.png")
    assert found_in(folder) == ["b/1.png", "c/2.png", "real.png"]


def test_unreadable_files_are_quarantined_with_their_reasons(tmp_path):
    good = picture(tmp_path / "good.png")
    (tmp_path / "nowhere.png").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.jpg").touch()
    entries = list(read_images(find_images(tmp_path)))
    reasons = {Path(entry.name).name: entry.reason for entry in entries if isinstance(entry, Quarantined)}
    assert reasons == {
        "empty.jpg": "is empty",
        "nowhere.png": "cannot be read: No such file or directory",
        "pipe.png": "is not a regular file",
    }
    assert [entry.name for entry in entries if isinstance(entry, Record)] == [good]


def test_folder_that_cannot_be_listed_is_quarantined_and_the_rest_read(tmp_path, monkeypatch):
    good, locked = picture(tmp_path / "good.png"), tmp_path / "locked"
    picture(locked / "in.png")
    scandir = os.scandir

    def refuse(path):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    entries = list(read_images(find_images(tmp_path)))
    assert entries[0].name == good and entries[1] == Quarantined(str(locked), "cannot be read: Permission denied")


# Lists and globs


def test_list_may_have_paths_of_any_bytes_and_each_file_counts_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [picture(tmp_path / name) for name in ("a.png", "b c.png", "ü.png", os.fsdecode(b"\xff.png"), "x\x0b.png")]
    (tmp_path / "link.png").symlink_to("a.png")
    lines = [*names[1:], "", "./a.png", "a.png", "link.png", "gone.png", "a.png"]
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(map(os.fsencode, lines)))
    assert find_images(path) == sorted([*names[1:], "./a.png", "gone.png"])
    assert sum(isinstance(entry, Record) for entry in map(read_image, find_images(path))) == 5


def test_folders_and_impossible_paths_in_a_list_are_quarantined(tmp_path):
    folder = tmp_path / "x.jpg"
    folder.mkdir()
    (tmp_path / "list.txt").write_bytes(os.fsencode(f"{folder}\na\0b.png\n"))
    reasons = {entry.name: entry.reason for entry in read_images(find_images(tmp_path / "list.txt"))}
    assert reasons[str(folder)] == "is a folder, not a file"
    assert "null byte" in reasons[r"$'a\x00b.png'"]


@pytest.mark.parametrize(
    ("pattern", "want"),
    {
        "*.png": ["a.png", "b.png"],
        "?.png": ["a.png", "b.png"],
        "*/*.png": ["d/c.png", "d/i.png"],
        "d/**": ["d/c.png", "d/e/f.jpg", "d/e/g.png", "d/i.png"],
        "**/*.png": ["a.png", "b.png", "d/c.png", "d/e/g.png", "d/i.png"],
        "**/e/*": ["d/e/f.jpg", "d/e/g.png"],
        "d*/**/e/**/*.[jp]*g": ["d/e/f.jpg", "d/e/g.png"],
        "[ab].png": ["a.png", "b.png"],
        "h [1].png": ["h [1].png"],
    }.items(),
)
def test_glob_matches_like_the_standard_librarys(tmp_path, monkeypatch, pattern, want):
    for name in ("a.png", "b.png", "d/c.png", "d/e/f.jpg", "d/e/g.png", "d/.hidden.png", ".d/h.png", "d/i.png"):
        picture(tmp_path / name)
    if "[1]" in pattern:
        picture(tmp_path / "h [1].png")
    monkeypatch.chdir(tmp_path)
    assert find_images(pattern) == want
    assert find_images(tmp_path / pattern) == [str(tmp_path / name) for name in want]


def test_single_file_is_a_collection(tmp_path):
    assert find_images(tmp_path / picture(tmp_path / "[a].png")) == [str(tmp_path / "[a].png")]


@pytest.mark.parametrize(
    ("where", "message"),
    {
        "nowhere": "no such folder or file",
        "*.jpg": "no such folder or file",
        "**/*.jpg": "no such folder or file",
        ".": "holds no image",
        "empty.txt": "lists no path",
    }.items(),
)
def test_source_without_images_is_refused_by_name_in_one_line(tmp_path, where, message):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError) as caught:
        find_images(tmp_path / where)
    assert str(caught.value).startswith(f"{tmp_path / where}: {message}") and "\n" not in str(caught.value)


# Files


def test_file_without_read_permission_is_quarantined(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    assert read_image(path) == Quarantined(path, "cannot be read: Permission denied")


def test_file_deleted_after_listing_is_quarantined(tmp_path):
    names = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    source = open_images(tmp_path, 10)
    Path(names[1]).unlink()
    entries = list(source.shards[0]())
    assert entries[1] == Quarantined(names[1], "cannot be read: No such file or directory")
    assert [entry.name for entry in (entries[0], entries[2])] == [names[0], names[2]]


def test_file_beyond_the_limit_of_bytes_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with open(path, "wb") as file:
        file.truncate(2**30 + 1)
    assert read_image(path).reason == "has 1073741825 bytes, more than the limit of 1073741824"


def test_copies_within_a_shard_are_quarantined_by_the_name_of_the_first(tmp_path):
    names = [picture(tmp_path / f"{i}.png", seed=i // 2) for i in range(4)]
    entries = list(read_images(names))
    assert [entry.name for entry in entries] == names
    assert [getattr(entry, "reason", None) for entry in entries] == [
        None,
        f"duplicate of {names[0]}",
        None,
        f"duplicate of {names[2]}",
    ]


# Names


@given(st.one_of(st.text(), st.binary().map(os.fsdecode)).filter(lambda name: "\0" not in name))
def test_printable_name_is_one_line_that_json_and_a_terminal_take(name):
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return  # not a possible file name
    text = printable(name)
    assert text.encode().decode() == json.loads(json.dumps(text)) == text
    assert len(text.splitlines()) <= 1


@pytest.mark.parametrize(
    "name", [b"a b.png", b"a\nb'c\\d.png", b"\xff\xfe.png", b"\xc2\x85.png", b"$'a'.png", "é".encode()]
)
def test_shell_reads_a_printable_name_back(name):
    text = printable(os.fsdecode(name))
    quoted = text if text.startswith("$'") else shlex.quote(text)
    printed = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True).stdout
    assert printed == name


def test_file_of_any_name_becomes_a_record_with_a_printable_name(tmp_path):
    for number, name in enumerate([b"a\nb.png", b"\xff.png", "写真 1.png".encode()]):
        picture(tmp_path / os.fsdecode(name), number)
    entries = list(read_images(find_images(tmp_path)))
    assert all(isinstance(entry, Record) for entry in entries)
    assert {entry.name for entry in entries} == {
        f"$'{tmp_path}/a\\nb.png'",
        f"$'{tmp_path}/\\xff.png'",
        f"{tmp_path}/写真 1.png",
    }


# Collections


def test_shards_are_even_picklable_and_reproducible(tmp_path):
    names = sorted(picture(tmp_path / f"{i}.png", i) for i in range(7))
    source = open_images(tmp_path, 3)
    assert source.count == 7 and source.tasks == () and source.teachers == {}
    shards = [list(shard()) for shard in pickle.loads(pickle.dumps(source.shards))]
    assert [len(shard) for shard in shards] == [2, 2, 3]
    assert [entry.name for shard in shards for entry in shard] == names
    assert shards == [list(shard()) for shard in source.shards]


def test_listing_changes_with_the_names(tmp_path):
    picture(tmp_path / "a.png")
    before = open_images(tmp_path, 3).listing
    assert before == open_images(tmp_path, 1).listing and len(before) == 16
    picture(tmp_path / "b.png")
    assert before != open_images(tmp_path, 3).listing


def test_shard_that_is_closed_early_ends(tmp_path):
    for i in range(30):
        picture(tmp_path / f"{i}.png", i)
    entries = open_images(tmp_path, 30).shards[0]()
    assert isinstance(next(entries), Record)
    entries.close()


@given(st.lists(st.text(max_size=3)), st.integers(1, 12))
def test_split_evenly_keeps_the_order_and_balances_the_lengths(items, count):
    runs = split_evenly(items, count)
    assert [item for run in runs for item in run] == items and len(runs) == count
    assert max(map(len, runs)) - min(map(len, runs)) <= 1


_AS_NOBODY = """
import os, sys
from must_tf.sources.images import find_images, read_images

if not os.geteuid():
    os.seteuid(65534)
for entry in read_images(find_images(".")):
    print(entry.name, getattr(entry, "reason", "is a record"))
"""


def test_files_and_folders_without_permission_are_quarantined():
    with tempfile.TemporaryDirectory() as name:  # readable by every user, unlike tmp_path
        folder = Path(name)
        for path in ("good.png", "closed.png", "locked/in.png"):
            picture(folder / path)
        for path, mode in ((folder, 0o755), (folder / "closed.png", 0), (folder / "locked", 0)):
            path.chmod(mode)
        try:
            done = subprocess.run([sys.executable, "-c", _AS_NOBODY], cwd=folder, capture_output=True, text=True)
        finally:
            (folder / "locked").chmod(0o700)
    assert done.stdout.splitlines() == [
        "closed.png cannot be read: Permission denied",
        "good.png is a record",
        "locked cannot be read: Permission denied",
    ], done.stderr


def test_names_of_files_are_relative_to_the_folder_or_to_what_is_common(tmp_path, monkeypatch):
    for seed, name in enumerate(("a/x.png", "a/b/y.png", "c/z.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(toy.png(toy.random_image(np.random.default_rng(seed), 8, 9)))
    monkeypatch.chdir(tmp_path / "photos" / "a")
    (tmp_path / "list.txt").write_text("x.png\n../c/z.png\n")

    def names(where):
        return [entry.filename for read in open_images(where, 2).shards for entry in read()]

    assert names(tmp_path / "photos") == ["a/b/y.png", "a/x.png", "c/z.png"]
    assert names(".") == ["b/y.png", "x.png"]
    assert names(f"{tmp_path}/photos/a/**/*.png") == ["b/y.png", "x.png"]
    assert names(tmp_path / "list.txt") == ["c/z.png", "a/x.png"]
    assert names("x.png") == ["x.png"]
