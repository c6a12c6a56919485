"""Frames of films are read by number, wherever a shard begins; what is no film is quarantined or said in one line."""

import pickle
import sys

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record
from must_tf.sources import open_source

av = pytest.importorskip("av")
FRAMES, STEP = 45, 5  # of which frame i has the gray level 5 i


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film of 10 frames per second without losses, a keyframe every 12 frames."""
    path = tmp_path_factory.mktemp("films") / "night/drive.mkv"
    path.parent.mkdir()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 5 * number, np.uint8), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def entries(source):
    return [list(shard()) for shard in pickle.loads(pickle.dumps(source)).shards]


def numbers(source):
    found = [entry for shard in entries(source) for entry in shard]
    for record in found:
        number = int(record.filename.rpartition("/")[2].removesuffix(".jpg"))
        assert abs(int(record.seen.mean()) - 5 * number) <= 2 and record.seen.shape == (32, 48, 3)
        assert record.name.endswith(f"drive.mkv: frame {number}")
        yield number


@pytest.mark.parametrize("images_per_shard", [2, 1000])
def test_every_nth_frame_is_taken_and_by_default_one_per_second(film, images_per_shard):
    for where, step in ((f"{film}", 10), (f"film:{film}[::4]", 4), (f"{film}[::7]", 7), (f"film:{film}[::100]", 100)):
        source = open_source(where, images_per_shard)
        expected = list(range(0, FRAMES, step))
        assert list(numbers(source)) == expected and source.count == len(expected) and source.tasks == ()
    assert open_source(f"{film}[::4]").listing != open_source(f"{film}[::7]").listing


def test_folder_of_films_is_read_and_its_damaged_ones_are_quarantined(film, tmp_path):
    content = film.read_bytes()
    (tmp_path / "day").mkdir()
    (tmp_path / "day/a.mkv").write_bytes(content)
    (tmp_path / "b.mp4").write_bytes(b"no film")
    source = open_source(f"film:{tmp_path}[::9]")
    (bad,), good = entries(source)
    assert isinstance(bad, Quarantined) and "is no film that FFmpeg reads" in bad.reason
    assert [one.filename for one in good] == [f"day/a.mkv/{number:08}.jpg" for number in range(0, FRAMES, 9)]
    assert source.count == 6
    # A film that is cut short between the opening and the reading.
    (tmp_path / "day/a.mkv").write_bytes(content[: len(content) // 2])
    found = entries(source)[1]
    assert len(found) == 5
    lost = [entry for entry in found if isinstance(entry, Quarantined)]
    assert 0 < len(lost) < 5 and all("cannot be decoded" in entry.reason for entry in lost)


def test_slice_keeps_a_film_whole(film, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.mkv").write_bytes(film.read_bytes()[: -100 * number or None])  # no two of one content
    parts = [entries(open_source(f"film:{tmp_path}[::9]{part}")) for part in ("[:50%]", "[50%:]")]
    films = [{one.filename[0] for shard in part for one in shard if isinstance(one, Record)} for part in parts]
    assert films[0] and films[1] and not films[0] & films[1]


def test_wrong_step_missing_film_and_missing_library_are_one_line(film, tmp_path, monkeypatch):
    for where, said in {
        f"film:{film}[::0]": "a step of 0 frames",
        f"film:{tmp_path}": "no film there",
        f"film:{tmp_path}/a.mp4": "no film there",
    }.items():
        with pytest.raises(UserError, match=said):
            open_source(where)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="films need PyAV; pip install"):
        open_source(film)
