"""Reads miniatures of COCO and Objects365: JSON, crowds, ids with gaps, and masks whose colors are segment ids."""

import json
import re
import unicodedata

import layouts
import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import open_dataset, read_manifest
from must_tf.sources import open_source
from must_tf.tasks import Instances
from must_tf.tasks.detection import CROWD, DIFFICULT

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
    assert len(bad) == 1 and ".json: image 30: size is for a picture of 40x20, this" in bad[0].reason


RING = [10.0, 5, 30.5, 5, 30.5, 15, 10, 15]


def write_masks(folder, *segmentations):
    """Writes annotations of one image with these masks; one in a tuple is that of a crowd."""
    layouts.write_jpeg(folder / "a.jpg", 20, 40)
    rows = [
        {"id": i, "image_id": 25, "category_id": 90, "bbox": [1, 2, 30, 15], "iscrowd": int(isinstance(one, tuple))}
        | ({} if one is None else {"segmentation": one[0] if isinstance(one, tuple) else one})
        for i, one in enumerate(segmentations, 1)
    ]
    write_json(folder / "a.json", [IMAGES[1] | {"file_name": "a.jpg"}], rows)
    return f"coco_masks:{folder}/a.json"


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180, 300.5])
def test_rotated_boxes_of_cvat_become_the_boxes_around_them(tmp_path, degrees):
    """CVAT exports the edges before the rotation: alone, they are the box of something else."""
    layouts.write_jpeg(tmp_path / "a.jpg", 20, 40)
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [14, 9, 12, 2], "attributes": {"rotation": degrees}}
    write_json(tmp_path / "labels.json", [{"id": 1, "file_name": "a.jpg"}], [one])
    task, records, _ = layouts.entries(f"coco:{tmp_path}/labels.json")
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-6, -1], [6, -1], [6, 1], [-6, 1]]) @ matrix.T + [20, 10]
    (xmin, ymin), (xmax, ymax) = corners.min(0), corners.max(0)
    found = records["a.jpg"].labels[task.name]["boxes"]
    np.testing.assert_allclose(found * [20, 40, 20, 40], [[ymin, xmin, ymax, xmax]], atol=1e-5)
    assert (records["a.jpg"].notes == ["rotated boxes become the boxes around them"]) == (degrees not in (0, 180))


def test_what_is_ignored_is_counted(tmp_path):
    """CVAT marks each mask of its brush as a crowd; detectors leave out boxes with `ignore` 1."""
    layouts.write_jpeg(tmp_path / "a.jpg", 20, 40)
    marks: tuple[dict, ...] = ({}, {"iscrowd": 1}, {"ignore": 1}, {"iscrowd": 1, "ignored": "difficult"})
    found = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [i, 9, 12, 2]} | more for i, more in enumerate(marks)]
    write_json(tmp_path / "labels.json", [{"id": 1, "file_name": "a.jpg"}], found)
    task, records, _ = layouts.entries(f"coco:{tmp_path}/labels.json")
    assert records["a.jpg"].labels[task.name]["ignore"].tolist() == [0, CROWD, DIFFICULT, DIFFICULT]
    (line,) = open_source(f"coco:{tmp_path}/labels.json").warnings
    assert "2 of 4 annotations have iscrowd or ignore 1: nothing is trained on them; CVAT" in line


def test_masks_are_those_that_pycocotools_draws(tmp_path):
    crowd = {"size": [20, 40], "counts": [20, 40, 740]}
    other = coco_mask.encode(np.asfortranarray(np.tri(20, 40, dtype=np.uint8)))
    packed = other | {"counts": other["counts"].decode()}
    where = write_masks(tmp_path, [RING], [RING, [0, 0, 5, 0, 5, 5]], (crowd,), packed)
    task, records, bad = layouts.entries(where)
    assert task == Instances("coco_instances", ("person", "toothbrush", "tree-merged")) and not bad
    found = records["a.jpg"].labels[task.name]
    assert found["classes"].tolist() == [1] * 4 and found["ignore"].tolist() == [0, 0, CROWD, 0]
    coco = COCO(str(tmp_path / "a.json"))
    for rle, annotation in zip(found["masks"], coco.loadAnns(coco.getAnnIds()), strict=True):
        np.testing.assert_array_equal(coco_mask.decode(rle), coco.annToMask(annotation))
    assert not records["a.jpg"].notes


def test_a_mask_may_be_as_thin_as_its_box_and_a_little_larger(tmp_path):
    where = write_masks(tmp_path, [[0.2, 1.2, 31.5, 1.2, 31.5, 17.5, 0.2, 17.5]], [[1, 2, 31, 2.2, 31, 2.4, 1, 2.2]])
    _, records, bad = layouts.entries(where)
    assert records and not bad


def test_boxes_that_were_exported_as_polygons_are_told_of(tmp_path):
    rectangle = [[1, 2, 31, 2, 31, 17, 1, 17]]
    said = "2 of 3 masks are the rectangle of their bbox: boxes?"
    assert said in open_source(write_masks(tmp_path, rectangle, rectangle, [RING])).warnings[0]
    assert not open_source(write_masks(tmp_path, rectangle, [[1, 2, 31, 9, 31, 17, 1, 17]], [RING])).warnings


def test_objects_without_a_mask_are_ignored_and_counted(tmp_path):
    where = write_masks(tmp_path, [RING, []], None, [], [[]], [[1, 1, 1.1, 1, 1.1, 1.1]])
    task, records, _ = layouts.entries(where)
    found = records["a.jpg"].labels[task.name]
    assert found["ignore"].tolist() == [0, *[DIFFICULT] * 4]
    assert [rle is None for rle in found["masks"]] == [False, *[True] * 4]
    assert records["a.jpg"].notes == ["objects without a mask, or with one that holds no pixel, are ignored"]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ({"size": [9, 9], "counts": [81]}, r"size \[9, 9\] received, the image has \[20, 40\]"),
        ({"size": [20, 40], "counts": [1, 2]}, "do not sum to the 800 pixels"),
        ({"size": [20, 40], "counts": "11"}, "a mask of 2 pixels for a frame of 20x40"),
        ([[32, 2, 39, 2, 39, 18, 32, 18]], "less than half of a mask lies in its bbox"),
        ([[-400.0, 0, 40, 20, -400, 20]], "a polygon reaches further beyond the image than its size"),
    ],
)
def test_masks_of_another_image_are_quarantined(tmp_path, mask, said):
    _, records, bad = layouts.entries(write_masks(tmp_path, mask))
    assert not records and re.search(said, bad[0].reason)


WRONG_MASKS = [
    [[1, 2, 3, 4]],
    [[1, 2, 3, 4, 5]],
    [["a"] * 6],
    [RING, 5],
    "x",
    {"size": [1]},
    [[True] * 6],
    [[1e300] * 6],
]


@pytest.mark.parametrize("mask", WRONG_MASKS, ids=range(len(WRONG_MASKS)))
def test_wrong_masks_are_refused_in_one_line(tmp_path, mask):
    with pytest.raises(UserError, match=r"a\.json: annotation 1: segmentation: .* received; expected polygons"):
        open_source(write_masks(tmp_path, mask))


def test_files_without_masks_are_refused(tmp_path, coco):
    with pytest.raises(UserError, match="segmentation: no annotation has one; read its boxes with coco:"):
        open_source(write_masks(tmp_path / "x", None))
    _, records, _ = layouts.entries(write_masks(tmp_path / "y"))
    assert len(records["a.jpg"].labels["coco_instances"]["masks"]) == 0
    with pytest.raises(UserError, match="has one map per image"):
        open_source(f"coco_masks:{coco}/panoptic_train2017")


def test_colors_are_segment_ids_and_void_and_crowds_are_ignored(coco):
    task, records, bad = layouts.entries(f"coco:{coco}/panoptic_train2017")
    mask = records["000000000009.jpg"].labels[task.name]
    assert task.name == "coco_segmentation" and not bad
    assert (mask[:5] == 2).all() and (mask[5:10] == 0).all() and (mask[10:] == -1).all()


def test_images_without_a_panoptic_annotation_are_counted(coco):
    path = coco / "annotations" / "panoptic_train2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": IMAGES}))
    source = open_source(f"coco:{coco}/panoptic_train2017")
    assert source.count == 1 and source.warnings == (f"{path}: 2 images without an annotation, left out",)


def test_segment_without_annotation_is_quarantined(coco):
    path = coco / "annotations" / "panoptic_train2017.json"
    path.write_text(path.read_text().replace("70000", "70001"))
    _, records, bad = layouts.entries(f"coco:{coco}/panoptic_train2017")
    assert not records and "segment 70000 is not in its annotation" in bad[0].reason


def test_segment_that_is_there_twice_is_refused(coco):
    path = coco / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"].append(content["annotations"][0]["segments_info"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"segment \d+: id: \d+ received; expected one segment of this id in"):
        open_source(f"coco:{coco}/panoptic_train2017")


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
        f"coco:{coco}/captions_train2017": r"no .*there is coco:.*instances_train2017\.json",
        f"coco:{coco}/nothing.json": r"no such file \(there is coco:.*annotations/instances_train2017\.json",
        f"coco:{coco}": r"is a folder \(there is coco:.*instances_train2017\.json.*; name an annotation file",
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


ONE = {"id": 7, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("images", "annotations", "said"),
    [
        ([{"id": 9}], [], "image 9: file_name is missing; expected a text"),
        ([{**IMAGES[0], "file_name": 3}], [], "image 9: file_name: 3 received"),
        (
            [{**IMAGES[0], "file_name": "\ud800.jpg"}],
            [],
            r"image 9: file_name: '\\ud800\.jpg' received; expected a text",
        ),
        ([{**IMAGES[0], "width": "40"}], [], "image 9: width: '40' received; expected pixels"),
        ([{**IMAGES[0], "height": None}], [], "image 9: height: null received"),
        ([3], [], "image number 1 of the list: 3 received; expected names with values"),
        ([{"file_name": "a.jpg"}], [], "image number 1 of the list: id is missing"),
        ([IMAGES[0], {**IMAGES[1], "id": 9}], [], "image 9: id: 9 received; expected an id of its own"),
        ([IMAGES[0], {**IMAGES[0], "id": 2}], [], "images 2 and 9 have one name, '000000000009.jpg'"),
        (IMAGES, [{"image_id": 9, "bbox": [1, 2, 3, 4]}], "annotation number 1 of the list: category_id is missing"),
        (IMAGES, [ONE | {"image_id": "9"}], r"annotation 7: image_id: '9' received; .* \(there is 9: write both as"),
        (IMAGES, [ONE | {"image_id": 99}], "annotation 7: image_id: 99 received; expected the id of one of"),
        (IMAGES, [ONE | {"image_id": [9]}], r"annotation 7: image_id: \[9\] received"),
        (IMAGES, [ONE | {"image_id": None}], "annotation 7: image_id: null received"),
        (IMAGES, [ONE | {"category_id": 2}], "annotation 7: category_id: 2 received; expected the id of one of"),
        (IMAGES, [ONE | {"category_id": "1"}], "annotation 7: category_id: '1' received; .*there is 1"),
        (IMAGES, [ONE | {"bbox": ["a", 2, 3, 4]}], "annotation 7: bbox: .*'a'.* received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": [10**400, 2, 3, 4]}], "annotation 7: bbox: .* received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": [1, 2, 3]}], "annotation 7: bbox: .* received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": [1, 2, 3, 4, 5]}], "annotation 7: bbox: .* received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": {"x": 1}}], "annotation 7: bbox: .* received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": None}], "annotation 7: bbox: null received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": [1, 2, True, 4]}], "annotation 7: bbox: .* received; expected four numbers"),
        (IMAGES, [ONE | {"bbox": [1, 2, -3, 4]}], "annotation 7: bbox: .* width and height of 0 or more"),
        (IMAGES, [{key: value for key, value in ONE.items() if key != "bbox"}], "annotation 7: bbox is missing"),
        (IMAGES, [ONE | {"iscrowd": "no"}], "annotation 7: iscrowd: 'no' received; expected 0 or 1"),
        (IMAGES, [ONE | {"bbox": [0.1, 0.2, 0.5, 0.5]}], "bbox: all 1 boxes lie in .*fractions of the image"),
        (IMAGES, [ONE | {"bbox": [20, 8, 39, 19]}], "bbox: 1 of 1 boxes reach beyond .* all fit as corners"),
    ],
)
def test_wrong_entry_is_refused_naming_file_entry_and_field(coco, images, annotations, said):
    write_json(coco / "annotations" / "instances_train2017.json", images, annotations)
    with pytest.raises(UserError, match=rf"instances_train2017\.json: {said}") as caught:
        open_source(f"coco:{coco}/instances_train2017")
    assert "\n" not in str(caught.value)


def change_categories(path, categories):
    path.write_text(json.dumps({**json.loads(path.read_text()), "categories": categories}))


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ([*CATEGORIES, {"id": 2, "name": "person"}], "categories 1 and 2 have one name, 'person'"),
        ([*CATEGORIES, {"id": 1, "name": "x"}], "category 1: id: 1 received; expected an id of its own"),
        ([*CATEGORIES, {"id": 2}], "category 2: name is missing"),
        ([*CATEGORIES, {"id": 2, "name": None}], "category 2: name: null received"),
    ],
)
def test_categories_that_are_there_twice_or_have_no_name_are_refused(coco, categories, said):
    change_categories(coco / "annotations" / "instances_train2017.json", categories)
    with pytest.raises(UserError, match=said):
        open_source(f"coco:{coco}/instances_train2017")


def test_numbers_may_be_texts_and_ids_sparse_and_sizes_missing(coco):
    path = coco / "annotations" / "instances_train2017.json"
    image = {key: value for key, value in IMAGES[0].items() if key in ("id", "file_name")}
    write_json(path, [image], [ONE | {"bbox": ["1", "2", "3.5", "4"], "category_id": 184}])
    task, records, _ = layouts.entries(f"coco:{coco}/instances_train2017")
    label = records["000000000009.jpg"].labels[task.name]
    np.testing.assert_allclose(label["boxes"] * (20, 40, 20, 40), [[2, 1, 6, 4.5]], rtol=1e-6)
    assert label["classes"].tolist() == [2]


def test_root_category_of_roboflow_is_no_class(coco):
    below = [one | {"supercategory": "person"} for one in CATEGORIES]
    change_categories(
        coco / "annotations" / "instances_train2017.json",
        [{"id": 0, "name": "person", "supercategory": "none"}, *below],
    )
    source = open_source(f"coco:{coco}/instances_train2017")
    assert source.tasks[0].class_names == ("person", "toothbrush", "tree-merged")
    assert any("category 0 'person' stands above all others" in line for line in source.warnings)


def test_empty_bbox_is_a_placeholder_that_is_counted(coco):
    path = coco / "annotations" / "instances_train2017.json"
    write_json(path, IMAGES[:2], [ONE | {"image_id": 25, "bbox": [], "category_id": 90}, ONE | {"image_id": 25}])
    task, records, _ = layouts.entries(f"coco:{coco}/instances_train2017")
    found = records["000000000025.jpg"].labels[task.name]
    assert found["classes"].tolist() == [0] and len(records["000000000009.jpg"].labels[task.name]["boxes"]) == 0
    (line,) = open_source(f"coco:{coco}/instances_train2017").warnings
    assert line.endswith("1 annotation with an empty bbox: taken as no box")


def test_boxes_agree_with_pycocotools(coco):
    from pycocotools.coco import COCO

    theirs = COCO(str(coco / "annotations" / "instances_train2017.json"))
    task, records, _ = layouts.entries(f"coco:{coco}/instances_train2017")
    categories = theirs.loadCats(sorted(theirs.getCatIds()))
    assert [one["name"] for one in categories] == list(task.class_names)
    for image in theirs.loadImgs([9, 25]):
        expected = [one for one in theirs.loadAnns(theirs.getAnnIds(image["id"])) if min(one["bbox"][2:]) > 0]
        label = records[image["file_name"]].labels[task.name]
        names = [task.class_names[number] for number in label["classes"]]
        assert names == [theirs.loadCats(one["category_id"])[0]["name"] for one in expected]
        assert [number == CROWD for number in label["ignore"]] == [bool(one["iscrowd"]) for one in expected]
        for (ymin, xmin, ymax, xmax), (x, y, width, height) in zip(
            label["boxes"], [one["bbox"] for one in expected], strict=True
        ):
            edges = np.clip([y / 20, x / 40, (y + height) / 20, (x + width) / 40], 0, 1)
            np.testing.assert_allclose([ymin, xmin, ymax, xmax], edges, atol=1e-6)


def test_corners_that_reach_beyond_hardly_any_image_are_told_of(coco):
    path = coco / "annotations" / "instances_train2017.json"
    write_json(path, IMAGES[:1], [ONE | {"id": number, "bbox": [1, 1, 10 + number % 8, 8]} for number in range(30)])
    (line,) = open_source(f"coco:{coco}/instances_train2017").warnings
    assert "all 30 boxes would fit as corners" in line


def square(path, orientation, size=(40, 20)):
    """Writes a JPEG with a bright square, and returns its corners (x, y, width, height) as stored and upright."""
    pixels = np.full((size[1], size[0], 3), 20, np.uint8)
    pixels[4:10, 8:24] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    found = []
    for image in (Image.open(path), ImageOps.exif_transpose(Image.open(path))):
        rows, columns = np.nonzero(np.asarray(image.convert("L")) > 128)
        box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
        found.append((box, image.width, image.height))
    return found


@pytest.mark.parametrize(("orientation", "size"), [(6, (40, 20)), (8, (40, 20)), (3, (40, 20)), (6, (40, 40))])
def test_box_of_a_turned_picture_is_on_the_object_or_a_note_or_a_reason_says_so(tmp_path, orientation, size):
    stored, upright = square(tmp_path / "a.jpg", orientation, size)
    for box, width, height in (stored, upright):
        image = {"id": 9, "file_name": "a.jpg", "width": width, "height": height}
        write_json(tmp_path / "labels.json", [image], [ONE | {"bbox": box}])
        task, records, bad = layouts.entries(f"coco:{tmp_path}/labels.json")
        if bad:
            assert (box, width, height) == stored and f"EXIF turns it (orientation {orientation})" in bad[0].reason
            continue
        ymin, xmin, ymax, xmax = records["a.jpg"].labels[task.name]["boxes"][0]
        edges = [xmin * upright[1], ymin * upright[2], (xmax - xmin) * upright[1], (ymax - ymin) * upright[2]]
        is_right = np.allclose(edges, upright[0], atol=1e-3)
        assert is_right or any("turned by EXIF" in note for note in records["a.jpg"].notes)
    assert not bad and is_right


def test_more_boxes_than_training_takes_are_kept_and_noted(coco):
    path = coco / "annotations" / "instances_train2017.json"
    write_json(path, IMAGES[:1], [ONE | {"id": number, "bbox": [number % 30, 2, 3, 4]} for number in range(101)])
    manifest = label(f"coco:{coco}/instances_train2017", [], coco / "out")
    (record,) = open_dataset(coco / "out").records()
    assert len(record.labels["coco_detection"]["boxes"]) == 101
    (line,) = [line for line in manifest.warnings if "max_boxes" in line]
    assert line.startswith("1 image: coco_detection: more than 100 boxes")
    assert read_manifest(coco / "out").warnings == manifest.warnings


LAYOUTS = {  # where tools put the annotation file and the image, and what they call the image
    "roboflow": ("train/_annotations.coco.json", "train/a.jpg", "a.jpg"),
    "label studio": ("result.json", "images/a.jpg", "images/a.jpg"),
    "label studio on windows": ("result.json", "images/a.jpg", "images\\a.jpg"),
    "label studio, a local file": ("result.json", "images/a.jpg", "/data/local-files/?d=photos/a.jpg"),
    "cvat": ("annotations/instances_default.json", "images/default/a.jpg", "a.jpg"),
    "beside": ("corrected.json", "a.jpg", "a.jpg"),
    "one level up": ("labels/corrected.json", "a.jpg", "a.jpg"),
    "another machine": ("corrected.json", "a.jpg", "C:\\Users\\me\\photos\\a.jpg"),
    "out of the folder": ("corrected.json", "a.jpg", "../../../a.jpg"),
    "as in a url": ("corrected.json", "images/a b.jpg", "a%20b.jpg"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_are_found_where_tools_put_them(tmp_path, name):
    file, place, image_name = LAYOUTS[name]
    layouts.write_jpeg(tmp_path / "set" / place, 20, 40)
    image = {"id": 9, "file_name": image_name, "width": 40, "height": 20}
    write_json(tmp_path / "set" / file, [image], [ONE])
    task, records, bad = layouts.entries(f"coco:{tmp_path}/set/{file}")
    (record,) = records.values()
    assert not bad and record.filename == place.rpartition("/")[2]
    np.testing.assert_allclose(record.labels[task.name]["boxes"], [[0.1, 0.025, 0.3, 0.1]], atol=1e-6)


def test_images_are_found_under_a_root_at_any_depth(tmp_path):
    write_json(tmp_path / "labels.json", IMAGES[:1], [ONE | {"image_id": 9}])
    layouts.write_jpeg(tmp_path / "photos/2024/may/000000000009.jpg", 20, 40)
    with pytest.raises(UserError, match=r"none of 1 images is there; '000000000009.jpg' was looked for in .*--root"):
        open_source(f"coco:{tmp_path}/labels.json")
    _, records, bad = layouts.entries(f"coco:{tmp_path}/labels.json", root=tmp_path / "photos")
    assert set(records) == {"000000000009.jpg"} and not bad
    layouts.write_jpeg(tmp_path / "photos/2025/000000000009.jpg", 20, 40)
    with pytest.raises(UserError, match="is the name of 2 files"):
        open_source(f"coco:{tmp_path}/labels.json", root=tmp_path / "photos")


def test_image_that_is_not_there_is_quarantined_and_no_other_is_taken_for_it(tmp_path):
    images = [{**IMAGES[0], "file_name": "train/a.jpg"}, {**IMAGES[1], "file_name": "val/b.jpg"}]
    write_json(tmp_path / "labels.json", images, [ONE])
    layouts.write_jpeg(tmp_path / "train/a.jpg", 20, 40)
    layouts.write_jpeg(tmp_path / "b.jpg", 20, 40)  # of another folder
    _, records, bad = layouts.entries(f"coco:{tmp_path}/labels.json")
    assert set(records) == {"a.jpg"} and "No such file" in bad[0].reason
    assert bad[0].name == f"{tmp_path}/val/b.jpg" and records["a.jpg"].filename == "train/a.jpg"


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_with_accents_are_found_as_other_systems_write_them(tmp_path, forms):
    written, stored = (unicodedata.normalize(form, "café.jpg") for form in forms)
    write_json(tmp_path / "labels.json", [{**IMAGES[0], "file_name": written}], [ONE])
    layouts.write_jpeg(tmp_path / stored, 20, 40)
    _, records, bad = layouts.entries(f"coco:{tmp_path}/labels.json")
    assert len(records) == 1 and not bad


def test_two_names_of_one_file_are_refused(tmp_path):
    images = [{**IMAGES[0], "file_name": "old/a.jpg"}, {**IMAGES[1], "file_name": "new/a.jpg"}]
    write_json(tmp_path / "labels.json", images, [ONE])
    layouts.write_jpeg(tmp_path / "a.jpg", 20, 40)
    with pytest.raises(UserError, match=r"'old/a\.jpg' and 'new/a.jpg' are the same file"):
        open_source(f"coco:{tmp_path}/labels.json")


def test_file_that_is_nested_without_an_end_is_refused(coco):
    (coco / "annotations" / "instances_train2017.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deep"):
        open_source(f"coco:{coco}/instances_train2017")
