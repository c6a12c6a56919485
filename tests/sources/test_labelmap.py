"""Masks in the colors of classes, as CVAT exports them, are read by its labelmap.txt."""

import layouts
import numpy as np
import pytest
from PIL import Image

from must_tf.errors import UserError
from must_tf.sources import open_source

COLORS = {"background": (0, 0, 0), "cat": (250, 50, 83), "dog": (0, 0, 1)}


def dataset(folder, masks, labelmap=""):
    """Writes images with masks of colors [H, W, 3], and the list of them."""
    for number, (name, mask) in enumerate(masks.items()):
        layouts.write_jpeg(folder / "JPEGImages" / f"{name}.jpg", *mask.shape[:2], number)
        layouts.write_png(folder / "SegmentationClass" / f"{name}.png", mask)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/default.txt").write_text("".join(f"{name}\n" for name in masks))
    rows = (f"{name}:{','.join(map(str, color))}::\n" for name, color in COLORS.items())
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + (labelmap or "".join(rows)))
    return f"voc:{folder}/Segmentation/default"


def test_colors_become_classes_in_the_order_of_the_labelmap(tmp_path):
    ids = np.random.default_rng(0).integers(0, 3, (8, 10))
    colors = np.array(list(COLORS.values()))[ids]
    colors[0, :4] = (224, 224, 192)  # VOC's border
    colors_of_nothing = colors.copy()
    colors_of_nothing[5, 5] = (1, 2, 3)
    task, records, bad = layouts.entries(dataset(tmp_path, {"a": colors, "b": colors_of_nothing}))
    assert (task.kind, task.class_names) == ("segmentation", tuple(COLORS))
    found = records["a.jpg"].labels[task.name]
    assert (found[0, :4] == -1).all() and (found.ravel()[4:] == ids.ravel()[4:]).all()
    assert "b.png: color (1, 2, 3) is that of no class in labelmap.txt" in bad[0].reason


def test_colors_of_a_palette_count_and_not_its_indices(tmp_path):
    where = dataset(tmp_path, {"a": np.zeros((8, 10, 3))})
    ids = np.random.default_rng(0).choice([0, 1, 2, 255], (8, 10)).astype(np.uint8)
    image = Image.fromarray(ids).convert("P")
    palette = np.zeros((256, 3), int)
    palette[:3], palette[255] = [COLORS[name] for name in ("dog", "background", "cat")], COLORS["cat"]
    image.putpalette(palette.ravel().tolist())
    image.save(tmp_path / "SegmentationClass/a.png")
    task, records, _ = layouts.entries(where)
    expected = np.array([2, 0, 1, *[-1] * 253])[ids]
    np.testing.assert_array_equal(records["a.jpg"].labels[task.name], expected)


@pytest.mark.parametrize(
    ("labelmap", "said"),
    [
        ("a:1,2,3::\nb:::\n", "'b' has no color"),
        ("a:1,2,3::\nb:1,2,3::\n", "'b' has the color"),
        ("a:1,2,3::\nb:1,2,300::\n", "'b' has no color; expected NAME:RED,GREEN,BLUE:: for each class"),
    ],
)
def test_classes_without_a_color_of_their_own_are_refused(tmp_path, labelmap, said):
    where = dataset(tmp_path, {"a": np.zeros((8, 10, 3))}, labelmap)
    with pytest.raises(UserError, match=rf"labelmap\.txt: {said}"):
        open_source(where)
