from must_tf.records import read_manifest
from must_tf.sources.rooms.dataset import make_rooms, to_record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import TEACHER_CATEGORIES, WORLDS
from must_tf.tasks import Classification


def test_license_is_in_the_manifest_and_not_in_the_plan(tmp_path):
    made = make_rooms("unlabeled/train", tmp_path, size=32, count=2)
    folder = tmp_path / "unlabeled" / "train"
    assert made.source["license"] == read_manifest(folder).source["license"] == "CC0-1.0"
    assert "license" not in (folder / ".plan.json").read_text()  # so that rooms rendered by an earlier version resume
    assert make_rooms("unlabeled/train", tmp_path, size=32, count=2) == made


def test_label_of_several_classes_names_all_objects():
    names = TEACHER_CATEGORIES
    one, several = Classification("one", names), Classification("several", names, multi_label=True)
    counts = []
    for number in range(5):
        sample = render(WORLDS["classification"], 0, number, 32)
        labels = to_record(sample, [one, several]).labels
        assert {name for name, there in zip(names, labels["several"], strict=True) if there} == set(sample.objects)
        assert labels["several"][labels["one"]]
        counts.append(labels["several"].sum())
    assert max(counts) > 1
