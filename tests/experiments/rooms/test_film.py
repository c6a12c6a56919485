"""Frames of a film of a room: as many as asked for, no two alike, and the same ones again."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("embreex")

from must_tf.errors import UserError
from must_tf.experiments.rooms.film import write_frames


def test_frames_are_of_one_size_no_two_alike_and_the_same_again(tmp_path):
    assert write_frames("detection/test", 90, tmp_path, 32, 4, 20) == 4
    paths = sorted(tmp_path.iterdir())
    before = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert len(set(before)) == 4 and np.asarray(Image.open(paths[0])).shape == (32, 32, 3)
    paths[2].unlink()  # as after a kill
    write_frames("detection/test", 90, tmp_path, 32, 4, 20)
    assert [path.read_bytes() for path in paths] == before


def test_unknown_splits_and_folders_with_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="--split=detection: no such split; did you mean 'detection/te"):
        write_frames("detection", 0, tmp_path, 32, 1, 20)
    (tmp_path / "0001.png").write_bytes(b"of a longer film")
    with pytest.raises(UserError, match=r"holds 0001\.png, which is no frame of this film; give another folder"):
        write_frames("detection/test", 0, tmp_path, 32, 1, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["0001.png"]
