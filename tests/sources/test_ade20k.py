"""Reads a miniature of ADE20K: the scene parsing benchmark's folders, classes from 1, and the table of classes."""

import layouts
import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.sources import open_source


@pytest.fixture
def ade(tmp_path):
    folder = tmp_path / "ADEChallengeData2016"
    for i in (1, 2):
        layouts.write_jpeg(folder / "images" / "training" / f"ADE_train_0000000{i}.jpg", 30, 40, i)
    mask = np.zeros((30, 40), np.uint8)
    mask[:10], mask[10:20] = 1, 150
    layouts.write_png(folder / "annotations" / "training" / "ADE_train_00000001.png", mask)
    layouts.write_png(folder / "annotations" / "training" / "ADE_train_00000002.png", np.full((30, 40), 151))
    rows = [f"{i}\t0.1\t11664\t1172\t{'wall' if i == 1 else f'thing {i}'}, synonym {i}   " for i in range(1, 151)]
    (folder / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    return folder


def test_classes_count_from_0_and_other_pixels_are_ignored(ade):
    task, records, bad = layouts.entries(f"ade20k:{ade}/training")
    mask = records["ADE_train_00000001.jpg"].labels[task.name]
    assert task.num_classes == 150 and task.class_names[0] == "wall" and task.class_names[149] == "thing 150"
    assert (mask[:10] == 0).all() and (mask[10:20] == 149).all() and (mask[20:] == -1).all()
    stored = task.encode(mask)
    assert stored and not ((mask[20:] >= 0) & (mask[20:] < 150)).any()
    assert len(bad) == 1 and "class 151 found, expected 0 to 150" in bad[0].reason


def test_image_without_its_annotation_is_quarantined(ade):
    layouts.write_jpeg(ade / "images" / "training" / "ADE_train_00000003.jpg", 30, 40, 3)
    _, _, bad = layouts.entries(f"ade20k:{ade}/training")
    assert any("No such file" in entry.reason and "00000003.png" in entry.reason for entry in bad)


def test_missing_dataset_says_where_to_get_it(ade):
    for where in (f"ade20k:{ade}/validation", f"ade20k:{ade}/nowhere/training"):
        with pytest.raises(UserError, match="get ADEChallengeData2016"):
            open_source(where)
    (ade / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n")
    with pytest.raises(UserError, match="a table of 1 classes received, expected 150"):
        open_source(f"ade20k:{ade}/training")
