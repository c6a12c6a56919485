"""Datasets are laid out from tars, folders and publishers' layouts; what is not there is named."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from must_tf.errors import UserError
from must_tf.experiments.photos import datasets
from must_tf.sources import open_source
from must_tf.storage import write_json


def image(path, value=None):
    """Writes a small photograph, or a map of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 255, (12, 16, 3), np.uint8)
    (Image.fromarray(pixels) if value is None else Image.fromarray(np.full((12, 16), value))).save(path)


@pytest.fixture
def data(tmp_path):
    """Miniature copies of all datasets in our layout."""
    root = tmp_path / "data"
    for number, folder in enumerate(("imagenette/n01440764", "imagenette/n02102040", "pets/cats", "scenes")):
        for i in range(4):
            image(root / "shared" / folder / f"{'x' * (number * 4 + i + 1)}.jpg")
    for split in datasets.SPLITS:
        for name in ("anchor", "ant"):
            image(root / "caltech101" / split / name / f"{split}.jpg")
        image(root / "animals" / split / "2007_000175.jpg")
        for kind, value in (("depth", np.uint16(2000)), ("masks", np.uint8(38))):
            image(root / "nyu" / split / kind / "0001.png", value)
        image(root / "nyu" / split / "normals" / "0001.png")
        image(root / "nyu" / split / "images" / "0001.jpg")
        image(root / "camvid" / split / "images" / "a.png")
        image(root / "camvid" / split / "masks" / "a.png", np.uint8(255))
        write_json(
            root / "animals" / "annotations" / f"instances_{split}.json",
            {
                "images": [{"id": 1, "file_name": "2007_000175.jpg", "width": 16, "height": 12}],
                "categories": [{"id": 1, "name": "dog"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 0}],
            },
        )
    return root


def tars(root, out):
    out.mkdir()
    for folder in root.iterdir():
        with tarfile.open(out / f"{folder.name}.tar", "w") as archive:
            for path in folder.iterdir():
                archive.add(path, path.name)
    return out


@pytest.mark.parametrize("packed", [False, True])
def test_folders_and_tars_become_sources_that_must_label_opens(data, tmp_path, packed):
    out = tmp_path / "out"
    given = tars(data, tmp_path / "tars") if packed else data
    assert datasets.prepare(given, out) == [*datasets.DATASETS]
    sources = out / "sources"
    counts = {
        f"classes:{sources}/caltech101/train": (2, "caltech101"),
        f"coco:{sources}/animals/instances_test": (1, "coco_detection"),
        f"depth:{sources}/nyu/validation": (1, "depth"),
        f"masks:{sources}/nyu/train": (1, "segmentation"),
        f"normals:{sources}/nyu/train": (1, "normals"),
        f"masks:{sources}/camvid/test": (1, "segmentation"),
    }
    for where, expected in counts.items():
        source = open_source(where)
        assert (source.count, source.tasks[0].name) == expected, where
    assert datasets.prepare(tmp_path, out) == [*datasets.DATASETS]  # they are there already


def test_classes_and_parts_of_the_shared_photographs(data, tmp_path):
    datasets.prepare(data, tmp_path)
    assert datasets.link_classes(tmp_path) == [datasets.HUMAN] == datasets.link_classes(tmp_path)
    (task,) = open_source(f"classes:{tmp_path}/sources/{datasets.HUMAN}/train").tasks
    assert task.class_names == ("cats", "n01440764", "n02102040")
    parts = datasets.draw_parts(tmp_path)
    datasets.write_parts(tmp_path, parts)
    assert sum(map(len, parts.values())) == 16
    parts = [(tmp_path / "lists" / f"{part}.txt").read_text().splitlines() for part in datasets.PARTS]
    assert [len(part) for part in parts] == [2, 6, 8] and len({name for part in parts for name in part}) == 16
    assert all((tmp_path / name).is_file() for part in parts for name in part)


def test_layouts_of_publishers(tmp_path, capsys):
    data = tmp_path / "data"
    for i in range(45):
        image(data / "101_ObjectCategories" / "accordion" / f"image_{i:04}.jpg")
        image(data / "101_ObjectCategories" / "BACKGROUND_Google" / f"image_{i:04}.jpg")
    for split in ("train", "val", "test"):
        image(data / "CamVid" / split / "a.png")
        image(data / "CamVid" / f"{split}annot" / "a.png", np.uint8(11))
    image(data / "imagenette2-160" / "train" / "n01440764" / "a.JPEG")
    assert datasets.prepare(data, tmp_path / "out") == ["shared", "caltech101", "camvid"]
    sources = tmp_path / "out" / "sources"
    assert [len([*(sources / "caltech101" / split).rglob("*.jpg")]) for split in datasets.SPLITS] == [20, 5, 15]
    assert not [*(sources / "caltech101").glob("*/BACKGROUND_Google")]
    assert (np.asarray(Image.open(sources / "camvid" / "validation" / "masks" / "a.png")) == 255).all()
    said = capsys.readouterr().out
    assert "without nyu: not in" in said and "without animals" in said


def test_damaged_and_wrong_tars_are_refused_in_one_line(tmp_path):
    (tmp_path / "shared.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="cannot be unpacked"):
        datasets.prepare(tmp_path, tmp_path / "out")
    with tarfile.open(tmp_path / "shared.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("other/a.jpg"), io.BytesIO())
    with pytest.raises(UserError, match="shared: holds no imagenette"):
        datasets.prepare(tmp_path, tmp_path / "out")
    assert not [*(tmp_path / "out" / "sources").iterdir()]
    with pytest.raises(UserError, match="no such folder"):
        datasets.prepare(tmp_path / "none", tmp_path / "out")
