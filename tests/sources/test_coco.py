"""Reads miniatures of COCO and Objects365: JSON, crowds, ids with gaps, and masks whose colors are segment ids."""

import json

import layouts
import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.sources import open_source
from must_tf.tasks.detection import CROWD

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 184, "name": "tree-merged"}]
IMAGES = [
    {"id": 9, "file_name": "000000000009.jpg", "height": 20, "width": 40},
    {"id": 25, "file_name": "000000000025.jpg", "height": 20, "width": 40},
    {"id": 30, "file_name": "000000000030.jpg", "height": 40, "width": 20},
]
BOXES = [
    {"image_id": 25, "category_id": 90, "bbox": [10.0, 5, 20.5, 10], "iscrowd": 0, "id": 1},
    {"image_id": 9, "category_id": 1, "bbox": [0, 0, 40, 20], "iscrowd": 1, "id": 2},
    {"image_id": 25, "category_id": 1, "bbox": [-0.5, 0, 50, 20], "iscrowd": 0, "id": 3},
    {"image_id": 25, "category_id": 1, "bbox": [3, 3, 0, 5], "iscrowd": 0, "id": 4},
]


def write_json(path, images, annotations):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))


@pytest.fixture
def coco(tmp_path):
    for i, image in enumerate(IMAGES):
        layouts.write_jpeg(
            tmp_path / "train2017" / image["file_name"], 20, 40, i
        )  # the last image has another size than its annotation
    write_json(tmp_path / "annotations" / "instances_train2017.json", IMAGES, BOXES)
    numbers = np.zeros((20, 40), np.int64)
    numbers[:5], numbers[5:10], numbers[10:12] = 70_000, 7, 300
    colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1)
    layouts.write_png(tmp_path / "annotations" / "panoptic_train2017" / "000000000009.png", colors)
    segments = [{"id": 70_000, "category_id": 184}, {"id": 7, "category_id": 1, "iscrowd": 0}]
    crowd = {"id": 300, "category_id": 1, "iscrowd": 1}
    one = {"image_id": 9, "file_name": "000000000009.png", "segments_info": [*segments, crowd]}
    write_json(tmp_path / "annotations" / "panoptic_train2017.json", IMAGES[:1], [one])
    return tmp_path


def test_boxes_are_clipped_crowds_are_ignored_and_empty_ones_are_left_out(coco):
    task, records, bad = layouts.entries(f"coco:{coco}/instances_train2017")
    assert task.name == "coco_detection" and task.class_names == ("person", "toothbrush", "tree-merged")
    crowd = records["000000000009.jpg"].labels[task.name]
    assert crowd["boxes"].tolist() == [[0, 0, 1, 1]] and crowd["ignore"].tolist() == [CROWD]
    found = records["000000000025.jpg"].labels[task.name]
    np.testing.assert_allclose(found["boxes"], [[0.25, 0.25, 0.75, 30.5 / 40], [0, 0, 1, 1]])
    assert found["classes"].tolist() == [1, 0] and found["ignore"].tolist() == [0, 0]
    assert len(bad) == 1 and "the boxes are for an image of 40x20, this one has 20x40" in bad[0].reason


def test_colors_are_segment_ids_and_void_and_crowds_are_ignored(coco):
    task, records, bad = layouts.entries(f"coco:{coco}/panoptic_train2017")
    mask = records["000000000009.jpg"].labels[task.name]
    assert task.name == "coco_segmentation" and not bad
    assert (mask[:5] == 2).all() and (mask[5:10] == 0).all() and (mask[10:] == -1).all()


def test_segment_without_annotation_is_quarantined(coco):
    path = coco / "annotations" / "panoptic_train2017.json"
    path.write_text(path.read_text().replace("70000", "70001"))
    _, records, bad = layouts.entries(f"coco:{coco}/panoptic_train2017")
    assert not records and "segment 70000 is not in its annotation" in bad[0].reason


@pytest.mark.parametrize(
    ("json_name", "file_name", "place"),
    [
        ("objects365_train", "obj365_train_000000000009.jpg", "train/obj365_train_000000000009.jpg"),
        (
            "zhiyuan_objv2_train",
            "images/v1/patch8/objects365_v1_00420917.jpg",
            "train/patch8/objects365_v1_00420917.jpg",
        ),
    ],
)
def test_both_versions_of_objects365_are_read(tmp_path, json_name, file_name, place):
    layouts.write_jpeg(tmp_path / place, 20, 40)
    images = [IMAGES[1] | {"file_name": file_name}]
    write_json(tmp_path / "annotations" / f"{json_name}.json", images, [one for one in BOXES if one["image_id"] == 25])
    task, records, bad = layouts.entries(f"objects365:{tmp_path}/train")
    (record,) = records.values()
    assert task.name == "objects365" and not bad and record.labels["objects365"]["classes"].tolist() == [1, 0]


def test_missing_dataset_says_where_to_get_it(coco):
    for where, message in {
        f"coco:{coco}/instances_val2017": "get train2017.zip",
        f"coco:{coco}/captions_train2017": "expected instances_SPLIT or panoptic_SPLIT",
        f"coco:{coco}/nowhere/instances_val2017": "cocodataset.org",
        f"objects365:{coco}/train": "objects365.org",
    }.items():
        with pytest.raises(UserError, match=message):
            open_source(where)
    (coco / "annotations" / "instances_train2017.json").write_text('{"images": []}')
    with pytest.raises(UserError, match="has no list 'annotations'"):
        open_source(f"coco:{coco}/instances_train2017")
    (coco / "annotations" / "instances_train2017.json").write_text('{"images": [')
    with pytest.raises(UserError, match="not valid JSON"):
        open_source(f"coco:{coco}/instances_train2017")


@pytest.mark.parametrize(
    ("images", "annotations", "said"),
    [
        ([{"id": 9}], [], "KeyError: .*height"),
        ([{**IMAGES[0], "file_name": "../../private.jpg"}], [], "ValueError: .*private.*outside of"),
        ([{**IMAGES[0], "file_name": "/etc/passwd"}], [], "ValueError: .*passwd.*outside of"),
        ([{**IMAGES[0], "file_name": 3}], [], "TypeError"),
        ([3], [], "TypeError"),
        (IMAGES, [{"image_id": 9, "bbox": [1, 2, 3, 4]}], "KeyError: .*category_id"),
        (IMAGES, [{"image_id": 9, "category_id": 2, "bbox": [1, 2, 3, 4]}], "KeyError: '2'"),
        (IMAGES, [{"image_id": 9, "category_id": 1, "bbox": ["a", 2, 3, 4]}], "ValueError"),
        (IMAGES, [{"image_id": 9, "category_id": 1, "bbox": [10**400, 2, 3, 4]}], "OverflowError"),
        (IMAGES, [{"image_id": [9], "category_id": 1, "bbox": [1, 2, 3, 4]}], "TypeError"),
    ],
)
def test_entry_that_is_none_of_coco_is_refused_naming_the_file(coco, images, annotations, said):
    write_json(coco / "annotations" / "instances_train2017.json", images, annotations)
    with pytest.raises(UserError, match=rf"instances_train2017\.json: an entry is not as those of COCO are \({said}"):
        open_source(f"coco:{coco}/instances_train2017")


def test_file_that_is_nested_without_an_end_is_refused(coco):
    (coco / "annotations" / "instances_train2017.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deep"):
        open_source(f"coco:{coco}/instances_train2017")
