"""Reads a miniature of BDD100K with its encodings: frames of Scalabel, masks of the drivable area, lines of lanes."""

import json
import pickle

import layouts
import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.records import Quarantined
from must_tf.sources import open_source
from must_tf.tasks.detection import DIFFICULT

HEIGHT, WIDTH = 90, 160
LABELS = {"vehicles": "det_20/det_{}.json", "lanes": "lane/polygons/lane_{}.json"}


def vehicle(*box, category="car"):
    return {"category": category, "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}


def marking(*vertices, category="single white", direction="parallel", style="solid", types=None):
    poly = {"vertices": [list(one) for one in vertices], "types": types or "L" * len(vertices), "closed": False}
    return {
        "category": category,
        "attributes": {"laneDirection": direction, "laneStyle": style},
        "poly2d": [poly],
    }


def write(root, split="train", names=("a", "b"), masks=None, **frames):
    """Writes a split; frames are {name of the image: labels} by task."""
    for seed, name in enumerate(names):
        layouts.write_jpeg(root / "images/100k" / split / f"{name}.jpg", HEIGHT, WIDTH, seed)
    for name, values in (masks or {}).items():
        layouts.write_png(root / "labels/drivable/masks" / split / f"{name}.png", values)
    for task, by_name in frames.items():
        path = root / "labels" / LABELS[task].format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"name": f"{name}.jpg", "labels": labels} for name, labels in by_name.items()]))
    return f"bdd100k:{root}/{split}"


def labels_of(where):
    """Returns the labels by the name of the image, and by task."""
    found = [entry for shard in open_source(where, 1).shards for entry in pickle.loads(pickle.dumps(shard))()]
    assert not [entry for entry in found if isinstance(entry, Quarantined)]
    return {entry.filename.removesuffix(".jpg"): entry.labels for entry in found}


def test_vehicles_are_one_class_in_fractions_of_the_image(tmp_path):
    others = [vehicle(0, 0, 9, 9, category="pedestrian"), {"category": "traffic light"}]
    boxes = [vehicle(16, 9, 80, 45), vehicle(0, 0, WIDTH, HEIGHT, category="train"), *others]
    labels = labels_of(write(tmp_path, names=("a", "b", "c"), vehicles={"a": boxes, "b": None}))
    np.testing.assert_allclose(labels["a"]["vehicles"]["boxes"], [[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]])
    assert labels["a"]["vehicles"]["classes"].tolist() == [0, 0]
    assert labels["b"]["vehicles"]["boxes"].shape == (0, 4)  # a frame without a vehicle is labeled
    assert labels["c"] == {}  # an image that the file does not have is not


def test_what_may_be_a_vehicle_is_ignored_as_in_the_publishers_tools(tmp_path):
    names = ("other vehicle", "trailer", "car", "other person")
    labels = labels_of(write(tmp_path, vehicles={"a": [vehicle(9, 9, 20, 20, category=name) for name in names]}))
    assert labels["a"]["vehicles"]["ignore"].tolist() == [DIFFICULT, DIFFICULT, 0]


def test_drivable_area_is_direct_or_alternative(tmp_path):
    mask = np.full((HEIGHT, WIDTH), 2)
    mask[:10], mask[10:30], mask[30:40] = 0, 1, 255
    labels = labels_of(write(tmp_path, masks={"a": mask}))
    expected = np.where(mask == 255, 255, np.where(mask == 2, 0, 1))
    assert (labels["a"]["drivable"] == expected).all() and labels["b"] == {}


@pytest.mark.parametrize(("split", "width"), [("train", 8), ("val", 2)])
def test_lanes_are_wide_in_training_and_narrow_elsewhere(tmp_path, split, width):
    labels = labels_of(write(tmp_path, split, lanes={"a": [marking((80, 0), (80, HEIGHT))], "b": []}))
    assert (labels["a"]["lanes"].sum(1) == width).all() and not labels["b"]["lanes"].any()
    assert abs(np.flatnonzero(labels["a"]["lanes"][45]).mean() + 0.5 - 80) <= 1


def test_two_edges_of_a_marking_become_the_line_in_their_middle(tmp_path):
    left, right = marking((60, 0), (40, HEIGHT)), marking((60, HEIGHT), (64, 45), (68, 0))  # drawn the other way round
    far, dashed = marking((140, 0), (140, HEIGHT)), marking((20, 0), (20, HEIGHT), style="dashed")
    mask = labels_of(write(tmp_path, "val", lanes={"a": [left, right, far, dashed]}))["a"]["lanes"]
    for row in (5, 45, 84):
        lines = np.array([20, 64 - 14 * row / HEIGHT, 140])
        distances = np.abs(np.flatnonzero(mask[row])[:, np.newaxis] - lines)
        assert distances.min(1).max() <= 2.5 and distances.min(0).max() <= 1.5  # nothing beside them, and each is there


def test_crosswalks_curbs_and_lines_across_the_road_are_no_lanes(tmp_path):
    line = ((80, 0), (80, HEIGHT))
    none = [marking(*line, category=name) for name in ("crosswalk", "road curb")] + [
        marking(*line, direction="vertical")
    ]
    assert not labels_of(write(tmp_path, lanes={"a": none}))["a"]["lanes"].any()


def test_a_line_of_unknown_direction_is_a_lane_as_in_the_publishers_tools(tmp_path):
    line = marking((80, 0), (80, HEIGHT))
    mask = labels_of(write(tmp_path, lanes={"a": [line | {"attributes": None}], "b": [line]}))
    assert mask["a"]["lanes"].any() and (mask["a"]["lanes"] == mask["b"]["lanes"]).all()


def test_bezier_curves_pass_through_their_ends_and_not_their_controls(tmp_path):
    curve = marking((10, 80), (10, 0), (150, 0), (150, 80), types="LCCC")
    mask = labels_of(write(tmp_path, "val", lanes={"a": [curve]}))["a"]["lanes"]
    assert mask[78, 8:13].any() and mask[78, 148:153].any() and mask[18:23, 80].any()  # the middle: (80, 20)
    assert not mask[:15].any()


@pytest.mark.parametrize(
    ("task", "labels", "problem"),
    [
        ("vehicles", [{"category": "car"}], "box2d: None received"),
        ("vehicles", [vehicle(9, 9, 0, 20)], "expected pixels x1 <= x2"),
        ("vehicles", [vehicle(0, 0, float("nan"), 20)], "box2d"),
        ("vehicles", [vehicle(0, 0, 9, 9, category="plane")], "category: 'plane' received"),
        ("vehicles", {"car": 1}, "labels"),
        ("vehicles", [vehicle(0, 0, 10**400, 20)], "box2d"),
        ("lanes", [marking((0, 0), (1, 1)) | {"poly2d": 5}], "poly2d: 5 received; expected a list"),
        ("lanes", [marking((0, 0), (1, 1)) | {"attributes": "x"}], "attributes: 'x' received"),
        ("lanes", [marking((0, 0), (1, 1), direction="up")], "laneDirection: 'up' received"),
        ("lanes", [marking((0, 0))], "poly2d"),
        ("lanes", [marking((0, 0), (1, 1), (2, 2), types="LCC")], "C three times in a row"),
        ("lanes", [marking((0, 0), (1, 1), category="lane/x")], "category"),
    ],
)
def test_wrong_label_is_refused_by_file_and_image(tmp_path, task, labels, problem):
    where = write(tmp_path, **{task: {"a": labels}})
    with pytest.raises(UserError, match=rf"{LABELS[task].format('train')}: image '?a.jpg'?: .*{problem}"):
        open_source(where)


def test_labels_without_an_image_are_counted(tmp_path):
    masks = {name: np.zeros((HEIGHT, WIDTH)) for name in "ac"}
    where = write(tmp_path, masks=masks, vehicles={"a": [], "b": [], "d": []})
    (said,) = open_source(where).warnings
    assert said == f"{where}: 2 labels without an image, such as vehicles of d.jpg, left out"
    write(tmp_path, names="abcd")
    assert not open_source(where).warnings


def test_masks_of_other_values_and_sizes_are_quarantined(tmp_path):
    where = write(tmp_path, masks={"a": np.full((HEIGHT, WIDTH), 7), "b": np.zeros((5, 5))})
    a, b = (entry for shard in open_source(where).shards for entry in shard())
    assert "value 7 found" in a.reason and "90x160" in b.reason


def test_no_labels_of_the_split_says_where_to_get_them(tmp_path):
    with pytest.raises(UserError, match=r"no label of this split; get .* dl\.cv\.ethz\.ch"):
        open_source(write(tmp_path))
