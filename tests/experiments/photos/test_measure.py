import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from must_tf.experiments.photos import measure
from must_tf.experiments.photos.truth import paste
from must_tf.records import open_dataset
from must_tf.tasks import Classification, Depth, Detection, Segmentation
from must_tf.training.monitor import Monitor

CLASSES = ("cat", "dog")


def test_top1_is_the_share_of_photographs_with_the_right_class(tmp_path):
    (tmp_path / "classification.json").write_text(json.dumps({"a.jpg": 0, "b.jpg": 1}))
    labels = {"a.jpg": np.array([0.6, 0.4]), "b.jpg": np.array([0.7, 0.3])}
    found = measure.classes(tmp_path, labels, Classification("x", CLASSES))
    assert found == {"images": 2, "top1": 0.5, "chance": 0.5}


def test_true_box_is_matched_once_and_only_by_its_class():
    box, other = np.array([0, 0, 0.5, 0.5]), np.array([0.5, 0.5, 1, 1])
    known = [(box, "cat"), (other, "dog")]
    assert measure.matches([(box, "cat"), (box, "cat"), (other, "cat")], known) == 1
    assert measure.matches([(other, "dog"), (box, "cat")], known) == 2
    assert measure.matches([], known) == 0 == measure.matches([(box, "cat")], [])


def test_boxes_are_counted_at_two_thresholds(tmp_path):
    truth = {"a.jpg": {"boxes": [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], "classes": ["cat", "dog"]}}
    (tmp_path / "detection.json").write_text(json.dumps(truth))
    label = {"boxes": np.array(truth["a.jpg"]["boxes"]), "classes": np.array([0, 1]), "scores": np.array([0.4, 0.9])}
    found = measure.boxes(tmp_path, {"a.jpg": label}, Detection("x", CLASSES, min_score=0.3))
    assert found == {
        "score ≥ 0.3": {"boxes": 2, "found": 2, "right": 2},
        "score ≥ 0.5": {"boxes": 2, "found": 1, "right": 1},
    }


def test_mask_of_a_cut_out_covers_it_and_has_an_iou_of_one(tmp_path):
    stamp = Image.new("RGBA", (100, 120), (255, 0, 0, 0))
    stamp.paste((255, 0, 0, 255), (20, 30, 80, 90))
    picture, mask = paste(stamp, Image.new("RGB", (640, 480), (0, 0, 255)), np.random.default_rng(0))
    red = np.asarray(picture)[..., 0] > 127
    known = np.asarray(mask) > 127
    assert (red != known).mean() < 0.01 and 0 < known.mean() < 0.5
    (tmp_path / "segmentation_truth").mkdir()
    mask.save(tmp_path / "segmentation_truth" / "0.png")
    task = Segmentation("x", ("background", "foreground"))
    found = measure.masks(tmp_path, {"0.png": known.astype(int)}, task)
    assert found == {"images": 1, "IoU": 1.0, "everything": pytest.approx(known.mean())}


def test_pasting_depends_only_on_its_seed():
    stamp = Image.new("RGBA", (100, 100), (255, 0, 0, 255))
    photograph = Image.effect_noise((400, 300), 50).convert("RGB")
    first, again = (paste(stamp, photograph, np.random.default_rng(5)) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))


def test_depth_that_is_right_up_to_scale_scores_one_and_unknown_pixels_do_not_count(tmp_path):
    inverse = np.random.default_rng(0).uniform(0.2, 1, (8, 10)).astype("f4")
    depth = 3 / inverse
    depth[0, 0] = np.nan
    inverse[1, 1], depth[1, 1] = 0, 100
    (tmp_path / "depth_truth").mkdir()
    np.savez(tmp_path / "depth_truth" / "a.npz", inverse=inverse)
    found = measure.depths(tmp_path, {"a.jpg": depth}, Depth("x"))
    assert found["a, correlation"]["teacher"] == pytest.approx(1, abs=1e-5) == found["a, delta1"]["teacher"]
    assert abs(found["a, correlation"]["ramp"]) < 0.5 and found["a, delta1"]["ramp"] < 1
    mean, known = np.delete(inverse, [0, 11]).mean(), np.delete(inverse, [0, 11])  # the best constant is the mean
    assert found["a, delta1"]["constant"] == pytest.approx((np.maximum(mean / known, known / mean) < 1.25).mean())


def test_scene_that_is_a_ramp_favors_the_ramp_over_a_wrong_teacher(tmp_path):
    inverse = np.repeat(np.arange(1, 9, dtype="f4")[:, np.newaxis], 10, 1)
    (tmp_path / "depth_truth").mkdir()
    np.savez(tmp_path / "depth_truth" / "a.npz", inverse=inverse)
    found = measure.depths(tmp_path, {"a.jpg": inverse}, Depth("x"))["a, correlation"]  # wrong: nearer at the top
    assert found["ramp"] == pytest.approx(1) and found["teacher"] < -0.5


def test_data_wait_is_the_last_value_of_the_run(tmp_path):
    monitor = Monitor(tmp_path / "runs" / "student", 0)
    for share in (0.5, 0.25):
        monitor.write(1, {}, {"data_wait": share})
    assert measure.measure(tmp_path) == {"student's training": {"data-wait": 0.25}}


def test_sizes_are_mean_bytes_of_images_and_labels(toy_data):
    dataset = open_dataset(toy_data)
    found = measure.sizes(dataset)
    images = [len(record.encoded) for record in dataset.records()]
    assert found["image"] == sum(images) // len(images)
    assert set(found) == {"image", *(task.name for task in dataset.manifest.tasks)} and min(found.values()) > 0


def test_table_has_one_line_per_task_or_part():
    text = measure.table({"classification": {"top1": 0.5, "images": 2}, "depth": {"a": {"teacher": 0.1}}})
    assert [line.split() for line in text.splitlines()] == [
        ["classification", "top1", "0.500", "images", "2"],
        ["depth,", "a", "teacher", "0.100"],
    ]


@pytest.mark.parametrize(
    ("marker", "file", "key"), [("measured", "measured.json", "measured"), ("teachers", "datasets/teachers.json", "")]
)
def test_published_table_is_made_from_the_published_json(marker, file, key):
    folder = Path(measure.__file__).parent
    published = (folder / "RESULTS.md").read_text().partition(f"<!-- {marker} -->\n```text\n")[2].partition("```")[0]
    found = json.loads((folder / "results" / file).read_text())
    assert published.rstrip("\n") == measure.table(found[key] if key else found)
