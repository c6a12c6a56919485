"""A list on the disk is like a list in memory; a copy of it in another process is one."""

import errno
import pickle
import tempfile

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.sources.disk_list import DiskList, Share, repeated, sorted_names

VALUES = [("a/b.jpg", 3), "", None, b"\xff" * 100_000, {"x": (1, 2)}, "a/b.jpg"]


def test_it_is_like_a_list_also_while_it_grows():
    found, expected = DiskList(VALUES[:2]), list(VALUES[:2])
    for value in VALUES[2:]:
        found.append(value)
        expected.append(value)
        assert list(found) == expected and len(found) == len(expected) and found[-1] == value
    for part in (slice(1, 4), slice(None, None, 2), slice(-2, None), slice(3, 0, -1)):
        assert found[part] == expected[part]
    with pytest.raises(IndexError):
        found[len(expected)]
    assert not DiskList() and found.index(None) == 2


def test_copies_hold_their_values():
    found = DiskList(range(10))
    assert pickle.loads(pickle.dumps(found)) == list(range(10))
    share = Share(found, 1, 3)
    assert list(share) == list(share) == [1, 4, 7] == pickle.loads(pickle.dumps(share))


@pytest.mark.parametrize("seed", range(5))
def test_equal_values_are_found_with_the_first_one(seed):
    values = [f"{number}" for number in np.random.default_rng(seed).integers(0, 40, 30)]
    expected = [(values.index(value), at) for at, value in enumerate(values) if values.index(value) < at]
    assert list(repeated(values)) == expected and list(repeated(DiskList(values))) == expected


def test_a_name_that_a_changing_folder_shows_twice_is_there_once():
    assert list(sorted_names(iter(["b", "a/c", "b", "a"]))) == ["a", "a/c", "b"]


def test_a_full_disk_is_one_line(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(UserError, match=r"no place for a temporary file \(.*No space left.*\); set TMPDIR"):
        DiskList([1])
