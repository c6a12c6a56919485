from must_tf.records import read_manifest
from must_tf.sources.rooms.dataset import make_rooms


def test_license_is_in_the_manifest_and_not_in_the_plan(tmp_path):
    made = make_rooms("unlabeled/train", tmp_path, size=32, count=2)
    folder = tmp_path / "unlabeled" / "train"
    assert made.source["license"] == read_manifest(folder).source["license"] == "CC0-1.0"
    assert "license" not in (folder / ".plan.json").read_text()  # so that rooms rendered by an earlier version resume
    assert make_rooms("unlabeled/train", tmp_path, size=32, count=2) == made
