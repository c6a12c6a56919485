import numpy as np

from must_tf.records import open_dataset, read_manifest
from must_tf.sources.rooms.dataset import INSTANCES, TEACHER_TASKS, make_rooms, to_record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import TEACHER_CATEGORIES, WORLDS
from must_tf.tasks import Classification
from must_tf.tasks.instances import masks


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


def test_masks_are_the_visible_pixels_of_the_objects_of_the_boxes(tmp_path):
    boxes = TEACHER_TASKS["detection"]
    for number in range(3):
        sample = render(WORLDS["detection"], 0, number, 48)
        labels = to_record(sample, (INSTANCES, boxes)).labels
        objects, wanted = labels["instances"], labels["detection"]
        for key in ("boxes", "classes"):
            np.testing.assert_array_equal(objects[key], wanted[key])
        found = np.array([masks.decode(rle) for rle in objects["masks"]]).reshape(-1, 48, 48)
        np.testing.assert_allclose(masks.tight_boxes(found), objects["boxes"], atol=1e-6)
        assert found.sum(0).max(initial=0) <= 1 and not found[:, sample.instances == 0].any()
    make_rooms("instances/test", tmp_path, size=32, count=2)
    assert open_dataset(tmp_path / "instances" / "test").manifest.tasks == (INSTANCES,)
