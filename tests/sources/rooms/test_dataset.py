from must_tf.records import read_manifest
from must_tf.sources.rooms.dataset import make_rooms


def test_licence_of_the_rooms_is_in_their_manifest_and_no_argument(tmp_path):
    made = make_rooms("unlabelled/train", tmp_path, size=32, count=2)
    folder = tmp_path / "unlabelled" / "train"
    assert made.source["licence"] == read_manifest(folder).source["licence"] == "CC0-1.0"
    assert "licence" not in (folder / ".plan.json").read_text()  # rooms that were rendered before are taken up
    assert make_rooms("unlabelled/train", tmp_path, size=32, count=2) == made
