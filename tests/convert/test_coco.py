import json

import labeled
import numpy as np
import supervision
from labeled import BOXES, HEIGHT, STUFF, WIDTH
from PIL import Image
from pycocotools.coco import COCO

from must_tf.sources.coco import find_coco
from must_tf.tasks.detection import UNSEEN

PLAIN = {"a.png": [(0, 0.75), (2, 0.25)], "night/b.png": [], "night/c d.png": [(1, 1.0)]}


def read(out, task, kind="instances"):
    return COCO(out / "annotations" / f"{kind}_{task}.json")


def test_pycocotools_reads_the_plain_boxes_and_takes_ignored_ones_for_crowds(converted, records):
    out, done = converted("coco", tasks=("boxes",))
    coco = read(out, "boxes")
    assert done.count == 3 and done.labels == {"boxes": 3}
    names = {image["file_name"]: key for key, image in coco.imgs.items()}
    assert set(names) == set(PLAIN)
    for name, rows in PLAIN.items():
        found = coco.loadAnns(coco.getAnnIds(names[name], iscrowd=False))
        assert [(one["category_id"] - 1, one["score"]) for one in found] == rows
        label = records[name].labels["boxes"]
        want = label["boxes"][label["ignore"] == 0][:, [1, 0, 3, 2]] * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        got = np.array([one["bbox"] for one in found]).reshape(-1, 4)
        np.testing.assert_allclose(np.hstack([got[:, :2], got[:, :2] + got[:, 2:]]), want, atol=1e-6 * WIDTH)
    crowds = coco.loadAnns(coco.getAnnIds(names["night/c d.png"], iscrowd=True))
    assert [one["ignored"] for one in crowds] == ["difficult", "crowd"]
    np.testing.assert_allclose(coco.imgs[names["night/c d.png"]]["unseen"], [[0, 0, 2, 24]], atol=1e-6 * WIDTH)
    assert [category["name"] for category in coco.cats.values()] == list(BOXES.class_names)


def test_scores_origins_ids_and_the_license_go_along(converted, records):
    out, _ = converted("coco", tasks=("boxes",))
    content = json.loads((out / "annotations" / "instances_boxes.json").read_text())
    assert [one["origin"] for one in content["annotations"]] == ["det-1", "det-1", "human", "human", "human"]
    assert {one["image_id"] for one in content["images"]} == {records[name].id for name in PLAIN}
    assert content["licenses"] == [{"id": 1, "name": "CC0-1.0", "url": ""}]


def test_supervision_reads_the_same_boxes(converted):
    out, _ = converted("coco", tasks=("boxes",), origins=("det-1",))
    found = supervision.DetectionDataset.from_coco(
        str(out / "images"), str(out / "annotations" / "instances_boxes.json")
    )
    ((path, _, detections),) = list(found)
    assert path.endswith("a.png") and found.classes == list(BOXES.class_names)
    np.testing.assert_allclose(detections.xyxy, [[2.25, 1.5, 20, 10], [0, 0, WIDTH, HEIGHT]], atol=1e-4)
    assert detections.class_id.tolist() == [0, 2]


def test_masks_are_exact_and_ignored_pixels_are_void(converted, records):
    out, _ = converted("coco", tasks=("stuff",))
    content = json.loads((out / "annotations" / "panoptic_stuff.json").read_text())
    images = {image["id"]: image["file_name"] for image in content["images"]}
    for one in content["annotations"]:
        colors = np.asarray(Image.open(out / "annotations" / "panoptic_stuff" / one["file_name"])).astype(int)
        ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        categories = {0: STUFF.ignore} | {part["id"]: part["category_id"] - 1 for part in one["segments_info"]}
        name = images[one["image_id"]]
        record = records[name] if name in records else records[""]
        assert np.array_equal(np.vectorize(categories.get)(ids), record.labels["stuff"])
        for part in one["segments_info"]:
            assert part["area"] == (ids == part["id"]).sum()
            x, y, width, height = part["bbox"]
            assert (ids[y : y + height, x : x + width] == part["id"]).sum() == part["area"]
    assert len(content["annotations"]) == 4


def test_our_own_source_reads_it_back(converted, records):
    out, _ = converted("coco", tasks=("boxes", "stuff"))
    for kind, task in (("instances", BOXES), ("panoptic", STUFF)):
        (out / task.name).symlink_to("images")  # where the source looks for images
        layout = find_coco(f"{out}/{kind}_{task.name}")
        assert layout.task.class_names == task.class_names and layout.items
        for path, source in layout.items:
            name = path.removeprefix(f"{out}/{task.name}/")
            record = records.get(name, records[""])
            got, want = layout.reader(record, source), record.labels[task.name]
            if task is STUFF:
                assert np.array_equal(np.where(got < 0, STUFF.ignore, got), want)
                continue
            order = np.argsort(want["ignore"] == UNSEEN, kind="stable")  # regions come after boxes
            np.testing.assert_allclose(got["boxes"], want["boxes"][order], atol=1e-6)
            plain = want["ignore"][order] != UNSEEN
            assert got["classes"][plain].tolist() == want["classes"][order][plain].tolist()
            assert got["ignore"].tolist() == want["ignore"][order].tolist()


def test_a_folder_has_these_files_alone(converted, records):
    out, _ = converted("coco", tasks=("boxes", "stuff"))
    masks = ["a", "night/b", "night/c d", records[""].id]
    assert labeled.files(out) == sorted(
        ["annotations/instances_boxes.json", "annotations/panoptic_stuff.json"]
        + [f"annotations/panoptic_stuff/{name}.png" for name in masks]
        + [f"images/{name}.png" for name in masks]
    )
