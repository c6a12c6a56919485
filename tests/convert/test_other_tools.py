"""Tools of others read what `must convert` writes, and `must label` reads what `datasets` of Hugging Face writes.

These packages bring an OpenCV of their own, and live in an environment that the test makes. TOOLS_PYTHON names the
Python of an environment that has them, so that a second run takes less time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import labeled
import numpy as np
import pytest
import toy

from must_tf.convert import Selection, convert
from must_tf.records import Record
from must_tf.sources import open_source

PACKAGES = ("fiftyone", "datumaro", "label-studio-sdk", "datasets", "pillow")
SCRIPT = Path(__file__).with_name("other_tools.py")
HEIGHT, WIDTH = labeled.SIZE
PLAIN = {  # ymin, xmin, ymax, xmax in pixels, and the class
    "a.png": [(2, 3, 10, 20, "cat"), (0, 0, 24, 40, "bird")],
    "night/b.png": [],
    "night/c.png": [(5, 6, 20, 30, "dog")],
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """Returns the Python of the environment."""
    if given := os.environ.get("TOOLS_PYTHON"):
        return given
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Returns a folder with the same boxes in each format."""
    folder = tmp_path_factory.mktemp("exports")
    rng, records = np.random.default_rng(0), []
    for name, boxes in PLAIN.items():
        rows = [(*box[:4], labeled.BOXES.class_names.index(box[4]), 1, 0) for box in boxes]
        record = toy.record(toy.random_image(rng, HEIGHT, WIDTH), {"boxes": labeled.boxes(rows)})
        record.filename = name
        records.append(record)
    toy.write_dataset(folder / "data", records, (labeled.BOXES,), num_shards=1)
    for to in ("coco", "yolo", "voc", "labelstudio", "imagefolder"):
        convert(folder / "data", to, folder / to, Selection())
    return folder


@pytest.fixture(scope="module")
def read(tools, exports):
    """Returns {tool: {format: {name of the file: boxes (xmin, ymin, width, height in pixels, class)}}}."""
    environment = os.environ | {"FIFTYONE_DO_NOT_TRACK": "true"}
    ended = subprocess.run(
        [tools, SCRIPT, exports], capture_output=True, text=True, timeout=900, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    print(ended.stdout)
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "to"),
    [
        *(("fiftyone", to) for to in ("coco", "yolo", "voc")),
        *(("datumaro", to) for to in ("coco", "voc")),
        ("labelstudio", "labelstudio"),
        ("datasets", "imagefolder"),
    ],
)
def test_other_tools_read_the_same_boxes(read, tool, to):
    found = read[tool][to]
    expected = {
        Path(name).stem: sorted([xmin, ymin, xmax - xmin, ymax - ymin, cls] for ymin, xmin, ymax, xmax, cls in boxes)
        for name, boxes in PLAIN.items()
    }
    moved = np.array([1, 1, -1, -1]) if to == "voc" else 0  # both take VOC's corners, from 1 and inclusive, as they are
    assert set(found) == set(expected)
    for name, boxes in expected.items():
        assert [box[4] for box in found[name]] == [box[4] for box in boxes]
        np.testing.assert_allclose(
            np.array([box[:4] for box in found[name]]).reshape(-1, 4),
            np.array([box[:4] for box in boxes]).reshape(-1, 4) + moved,
            atol=1e-3,
        )


@pytest.mark.slow
def test_datasets_of_hugging_face_are_read_as_its_library_writes_them(read, exports):
    for where in ("saved", "pushed/train", "dict/train"):
        source = open_source(f"hfdata:{exports}/hf/{where}")
        label, objects = source.tasks
        assert (label.name, label.class_names) == ("label", ("cat", "dog"))
        records = [entry for shard in source.shards for entry in shard() if isinstance(entry, Record)]
        assert [record.labels.get("label") for record in records] == [0, 1, None]
        (ymin, xmin, ymax, xmax) = records[0].labels[objects.name]["boxes"][0] * (HEIGHT, WIDTH, HEIGHT, WIDTH)
        assert np.allclose((xmin, ymin, xmax - xmin, ymax - ymin), read["datasets"]["box"], atol=1e-5)
        assert len(records[1].labels[objects.name]["boxes"]) == 0
