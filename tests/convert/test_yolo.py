from pathlib import Path

import labeled
import numpy as np
import supervision
import toy
import yaml
from labeled import BOXES, HEIGHT, STUFF, WIDTH
from skimage.measure import points_in_poly

DIFFICULT_LINE = "left out: difficult boxes: 1"


def test_supervision_reads_the_plain_boxes(converted):
    out, done = converted("yolo", tasks=("boxes",))
    found = supervision.DetectionDataset.from_yolo(
        str(out / "images/train"), str(out / "labels/train"), str(out / "data.yaml")
    )
    boxes = {path.rpartition("/")[2]: detections for path, _, detections in found}
    assert found.classes == list(BOXES.class_names)
    np.testing.assert_allclose(boxes["a.png"].xyxy, [[2.25, 1.5, 20, 10], [0, 0, WIDTH, HEIGHT]], atol=1e-4)
    assert boxes["a.png"].class_id.tolist() == [0, 2]
    left_out = {"left out: difficult boxes: 1", "left out: boxes of crowds: 1"}
    assert left_out <= set(done.lines) and "left out: regions that the teacher did not see: 1" in done.lines


def test_an_image_with_nothing_has_an_empty_file_and_one_without_a_label_is_left_out(converted):
    out, done = converted("yolo", tasks=("boxes",))
    assert (out / "labels/train/night/b.txt").read_text() == ""
    assert (out / "labels/train/night/c d.txt").read_text().count("\n") == 1
    assert labeled.files(out / "images") == ["train/a.png", "train/night/b.png", "train/night/c d.png"]
    assert "images without such a label: 2" in done.lines


def test_data_yaml_names_the_classes_and_folders(converted):
    out, _ = converted("yolo", tasks=("boxes",))
    content = yaml.safe_load((out / "data.yaml").read_text())
    assert content["names"] == dict(enumerate(BOXES.class_names))
    assert (out / content["train"]).is_dir() and (out / content["val"]).is_dir()


def test_polygons_filled_at_the_centers_of_pixels_are_the_mask(converted, records):
    out, done = converted("yolo", tasks=("stuff",))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centers = np.stack([x.ravel(), y.ravel()], 1)
    for name in ("a.png", "night/b.png"):
        mask = np.full((HEIGHT, WIDTH), STUFF.ignore)
        for line in (out / "labels/train" / name).with_suffix(".txt").read_text().splitlines():
            cls, *numbers = line.split()
            outline = np.array(numbers, float).reshape(-1, 2) * (WIDTH, HEIGHT)
            mask[points_in_poly(centers, outline).reshape(HEIGHT, WIDTH)] = int(cls)
        assert np.array_equal(mask, records[name].labels["stuff"])
    assert "left out: images with ignored pixels: 4" in done.lines


def test_ultralytics_finds_the_labels_of_images_in_folders_called_images(converted, tmp_path):
    """It takes the last `/images/` of a path for `/labels/`, and an image without a file for one with nothing."""
    found = labeled.records()[:2]
    found[0].filename, found[1].filename = "images/a.png", "night/images/b.png"
    toy.write_dataset(tmp_path / "data", found, labeled.TASKS)
    out, _ = converted("yolo", data=tmp_path / "data", tasks=("boxes",))
    images = [path for path in labeled.files(out) if path.startswith("images/")]
    assert len(images) == 2
    for path in images:
        label = "/labels/".join(f"{out}/{path}".rsplit("/images/", 1)).removesuffix(".png") + ".txt"
        assert Path(label).is_file()
