"""Datasets of Hugging Face on disk, as parquet and as `save_to_disk` leaves them, are read with their labels."""

import json
import pickle
import sys

import layouts
import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record
from must_tf.sources import open_source
from must_tf.tasks import Classification, Detection, Segmentation
from must_tf.tasks.detection import CROWD, DIFFICULT

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
NAMES = ["cat", "dog"]
CLASS = {"names": NAMES, "_type": "ClassLabel"}
IMAGE = {"_type": "Image"}
FLOATS = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "Sequence"}
OBJECTS = {"feature": {"bbox": FLOATS, "category": CLASS}, "_type": "Sequence"}  # a dict of lists in rows
LISTED = [{"bbox": FLOATS, "category": CLASS}]  # a list of dicts in rows
COUNT = 7


def image(seed):
    return toy.png(toy.random_image(np.random.default_rng(seed), 24, 40))


def cell(seed):
    return {"bytes": image(seed), "path": f"{seed}.png"}


def table(rows, features):
    made = arrow.Table.from_pylist(rows)
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_arrow(path, made, batch):
    path.parent.mkdir(parents=True, exist_ok=True)
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_stream(file, made.schema) as writer:
        for part in made.to_batches(max_chunksize=batch):
            writer.write_batch(part)


def entries(source):
    return [entry for shard in pickle.loads(pickle.dumps(source)).shards for entry in shard()]


@pytest.fixture(scope="module")
def rows():
    objects = [{"bbox": [[4.0, 6, 20, 12], [0, 0, 40, 24]], "category": [1, 0]}] + [{"bbox": [], "category": []}] * 6
    masks = [{"bytes": toy.png(np.full((24, 40), number % 3, np.uint8)), "path": None} for number in range(COUNT)]
    return [
        {"image": cell(i), "label": (1, 0, -1, None, 1, 0, 1)[i], "objects": objects[i], "mask": masks[i], "note": "x"}
        for i in range(COUNT)
    ]


FEATURES = {"image": IMAGE, "label": CLASS, "objects": OBJECTS, "mask": IMAGE, "note": {"_type": "Value"}}


@pytest.fixture(params=["parquet", "arrow"])
def place(request, rows, tmp_path):
    """The dataset in two files."""
    first, second = table(rows[:4], FEATURES), table(rows[4:], FEATURES)
    if request.param == "arrow":
        write_arrow(tmp_path / "animals/train/data-00000-of-00002.arrow", first, 3)
        write_arrow(tmp_path / "animals/train/data-00001-of-00002.arrow", second, 3)
        (tmp_path / "animals/dataset_dict.json").write_text('{"splits": ["train"]}')
    else:
        (tmp_path / "animals/data").mkdir(parents=True)
        parquet.write_table(first, tmp_path / "animals/data/train-00000-of-00002.parquet", row_group_size=2)
        parquet.write_table(second, tmp_path / "animals/data/train-00001-of-00002.parquet", row_group_size=2)
    (tmp_path / "animals/id2label.json").write_text(json.dumps({"0": "ground", "1": "grass", "2": "sky"}))
    return tmp_path / "animals"


@pytest.mark.parametrize("images_per_shard", [3, 1000])
def test_columns_become_tasks_of_their_names(place, images_per_shard):
    source = open_source(f"hfdata:{place}/train", images_per_shard)
    assert source.tasks == (
        Classification("label", ("cat", "dog")),
        Detection("objects", ("cat", "dog")),
        Segmentation("mask", ("ground", "grass", "sky")),
    )
    found = entries(source)
    assert source.count == len(found) == COUNT and not source.warnings
    assert [record.encoded for record in found] == [image(i) for i in range(COUNT)]
    assert [record.filename for record in found] == [f"{i}.png" for i in range(COUNT)]
    assert [record.labels.get("label") for record in found] == [1, 0, None, None, 1, 0, 1]
    assert [record.notes for record in found][1:3] == [[], ["label: empty or -1, and so without a label"]]
    label = found[0].labels["objects"]
    np.testing.assert_allclose(label["boxes"] * (24, 40, 24, 40), [[6, 4, 18, 24], [0, 0, 24, 40]], rtol=1e-6)
    assert label["classes"].tolist() == [1, 0] and len(found[1].labels["objects"]["boxes"]) == 0
    assert all((record.labels["mask"] == number % 3).all() for number, record in enumerate(found))


def test_tasks_are_named_and_classes_are_matched_as_of_other_sources(place):
    source = open_source(f"hfdata:{place}/train", tasks={"boxes": "objects"})
    assert [task.name for task in source.tasks] == ["label", "boxes", "mask"]


def write_one(folder, rows, features):
    folder.mkdir(exist_ok=True)
    parquet.write_table(table(rows, features), folder / "a.parquet")
    return f"hfdata:{folder}/a.parquet"


def test_objects_as_a_list_with_classes_as_texts_and_a_size(tmp_path):
    texts = [{"bbox": FLOATS, "category": {"dtype": "string", "_type": "Value"}}]
    rows = [
        {"image": cell(0), "objects": [{"bbox": [4.0, 6, 20, 12], "category": "dog"}], "height": 24, "width": 40},
        {"image": cell(1), "objects": [{"bbox": [4.0, 6, 20, 12], "category": "ant"}], "height": 40, "width": 24},
        {"image": cell(2), "objects": [], "height": 24, "width": 40},
    ]
    value = {"dtype": "int64", "_type": "Value"}
    where = write_one(tmp_path, rows, {"image": IMAGE, "objects": texts, "height": value, "width": value})
    source = open_source(where)
    assert source.tasks[0].class_names == ("ant", "dog")
    first, turned, empty = entries(source)
    assert first.labels["objects"]["classes"].tolist() == [1] and len(empty.labels["objects"]["boxes"]) == 0
    assert isinstance(turned, Quarantined) and "a picture of 40x24" in turned.reason


def test_wrong_labels_are_quarantined_and_unnamed_ones_are_told_of(tmp_path):
    wrong = [
        {"image": cell(0), "label": 5, "objects": [{"bbox": [1.0, 1, 2, 2], "category": 0}]},
        {"image": cell(1), "label": 1, "objects": [{"bbox": [1.0, 1, -2, 2], "category": 0}]},
        {"image": cell(2), "label": 1, "objects": [{"bbox": [1.0, 1, 2], "category": 0}]},
        {"image": {"bytes": None, "path": None}, "label": 1, "objects": []},
        {"image": {"bytes": b"no image", "path": "a.png"}, "label": 1, "objects": []},
    ]
    reasons = [
        entry.reason for entry in entries(open_source(write_one(tmp_path, wrong, FEATURES | {"objects": LISTED})))
    ]
    for reason, said in zip(reasons, ("class 5", "width and height", "", "has no image", "is not a JPEG"), strict=True):
        assert said in reason
    ids = [{"bbox": FLOATS, "category": {"dtype": "int64", "_type": "Value"}}]
    source = open_source(write_one(tmp_path, wrong, {"image": IMAGE, "objects": ids}))
    assert source.tasks == () and "boxes of 'objects' are left out, because no id2label.json" in source.warnings[-1]


def test_files_of_other_columns_or_classes_are_refused(tmp_path):
    features = {"image": IMAGE, "label": CLASS}
    parquet.write_table(table([{"image": cell(1), "label": 0}], features), tmp_path / "a.parquet")
    turned = features | {"label": {"names": NAMES[::-1], "_type": "ClassLabel"}}
    for name, other in (("b", turned), ("c", {"image": IMAGE})):
        row = {"image": cell(2), "label": 0} if "label" in other else {"image": cell(2)}
        parquet.write_table(table([row], other), tmp_path / f"{name}.parquet")
        with pytest.raises(UserError, match=rf"{name}\.parquet has other columns or classes than .*a\.parquet"):
            open_source(f"hfdata:{tmp_path}/*.parquet")
        (tmp_path / f"{name}.parquet").unlink()


def test_missing_boxes_are_no_label_and_odd_ones_are_quarantined(tmp_path):
    features = {"image": IMAGE, "objects": OBJECTS}
    known = {"bbox": [[4.0, 6, 20, 12]], "category": [1]}
    rows = [{"image": cell(i), "objects": one} for i, one in enumerate((known, {"bbox": None, "category": None}))]
    first, second = entries(open_source(write_one(tmp_path, rows, features)))
    assert "objects" in first.labels and "objects" not in second.labels and second.notes
    struct = {"image": cell(3), "objects": {"bbox": [{"x": 1.0}], "category": [1]}}
    (bad,) = entries(open_source(write_one(tmp_path, [struct], features)))
    assert isinstance(bad, Quarantined) and "expected boxes of x, y, width and height" in bad.reason


def test_corners_and_fractions_are_refused(tmp_path):
    for box, said in (([20.0, 12, 38, 22], "all fit as corners"), ([0.1, 0.1, 0.5, 0.5], "fractions of the image")):
        rows = [{"image": cell(0), "objects": [{"bbox": box, "category": 0}], "height": 24, "width": 40}]
        value = {"dtype": "int64", "_type": "Value"}
        where = write_one(tmp_path, rows, {"image": IMAGE, "objects": LISTED, "height": value, "width": value})
        with pytest.raises(UserError, match=said):
            open_source(where)


def test_plain_parquet_without_a_description_has_images(tmp_path):
    parquet.write_table(arrow.Table.from_pylist([{"image": cell(0), "label": 1}]), tmp_path / "train.parquet")
    source = open_source(f"hfdata:{tmp_path}/train")
    assert source.tasks == () and isinstance(entries(source)[0], Record)
    assert "classes of 'label' are left out, because no id2label.json" in source.warnings[0]
    (tmp_path / "id2label.json").write_text('{"0": "cat", "1": "dog"}')
    (record,) = entries(open_source(f"hfdata:{tmp_path}/train"))
    assert record.labels == {"label": 1}


def test_columns_of_other_types_are_told_of_and_bytes_are_images(tmp_path):
    rows = [{"image": image(0), "label": 1.0, "bbox": [[1, 2, 3, 4]]}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    source = open_source(f"hfdata:{tmp_path}/train")
    assert source.tasks == () and isinstance(entries(source)[0], Record)
    assert [line.partition(": ")[2].partition(":")[0] for line in source.warnings] == [
        "'label' is left out", "'bbox' is left out",
    ]  # fmt: skip


@pytest.mark.parametrize("listed", [False, True])
def test_crowds_and_difficult_objects_are_ignored(tmp_path, listed):
    flag = {"dtype": "int64", "_type": "Value"}
    fields = {"bbox": FLOATS, "category": CLASS, "iscrowd": flag, "difficult": flag}
    known = {"bbox": [[1.0 + i, 2, 20, 10] for i in range(3)], "category": [0] * 3, "iscrowd": [0, 1, 0]}
    known |= {"difficult": [0, 0, 1]}
    listing = [dict(zip(known, one, strict=True)) for one in zip(*known.values(), strict=True)]
    features = {"image": IMAGE, "objects": [fields] if listed else {"feature": fields, "_type": "Sequence"}}
    where = write_one(tmp_path, [{"image": cell(0), "objects": listing if listed else known}], features)
    (record,) = entries(open_source(where))
    assert record.labels["objects"]["ignore"].tolist() == [0, CROWD, DIFFICULT]


def test_captions_are_no_classes(tmp_path):
    features = {"image": IMAGE, "label": {"dtype": "string", "_type": "Value"}}
    rows = [{"image": cell(0), "label": f"a picture of number {number}"} for number in range(101)]
    source = open_source(write_one(tmp_path, rows, features))
    assert source.tasks == () and "'label' has 101 different texts in 101 rows" in source.warnings[0]
    source = open_source(write_one(tmp_path, rows * 2, features))
    assert len(source.tasks[0].class_names) == 101 and not source.warnings


def test_texts_are_classes(tmp_path):
    features = {"image": IMAGE, "label": {"dtype": "string", "_type": "Value"}}
    rows = [{"image": cell(number), "label": text} for number, text in enumerate(["dog", "cat", None, "dog"])]
    source = open_source(write_one(tmp_path, rows, features))
    assert source.tasks == (Classification("label", ("cat", "dog")),)
    assert [record.labels.get("label") for record in entries(source)] == [1, 0, None, 1]


def test_missing_dataset_split_column_and_library_are_one_line(tmp_path, monkeypatch):
    layouts.write_jpeg(tmp_path / "a/b.jpg", 8, 8)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    parquet.write_table(arrow.Table.from_pylist([{"x": 1}]), tmp_path / "train-0.parquet")
    parquet.write_table(arrow.Table.from_pylist([{"x": 1}]), tmp_path / "test-0.parquet")
    (tmp_path / "dict/train").mkdir(parents=True)
    (tmp_path / "dict/dataset_dict.json").write_text("{}")
    for where, said in {
        "a/nothing": "no such dataset; expected hfdata:FILE",
        "bad.parquet": "cannot be read",
        "train": "0 columns of images",
        "dict": "has the splits train; name one: hfdata:",
        "": "has the splits bad.parquet, test, train; name one",
    }.items():
        with pytest.raises(UserError, match=said) as caught:
            open_source(f"hfdata:{tmp_path}/{where}".rstrip("/"))
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs pyarrow; pip install"):
        open_source(f"hfdata:{tmp_path}/train")
