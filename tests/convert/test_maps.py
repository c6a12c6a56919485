import labeled
import numpy as np
import pytest
import toy
from labeled import STUFF
from PIL import Image

from must_tf.convert import convert
from must_tf.tasks import Depth, Segmentation

SIZE = (4, 6)


def write(folder, task, *labels):
    """Writes a dataset of images with labels of one task: 0.png, 1.png, ..."""
    records = [toy.record(toy.random_image(np.random.default_rng(i), *SIZE), {task.name: label})
               for i, label in enumerate(labels)]  # fmt: skip
    for index, record in enumerate(records):
        record.filename = f"{index}.png"
    toy.write_dataset(folder, records, (task,), num_shards=1)
    return folder


def test_masks_are_the_ids_in_a_palette(converted, records):
    out, done = converted("masks")
    assert (out / "classes.txt").read_text().splitlines() == list(STUFF.class_names)
    for name in ("a.png", "night/c d.png"):
        image = Image.open(out / "masks" / name)
        assert image.mode == "P" and np.array_equal(np.asarray(image), records[name].labels["stuff"])
    assert done.count == 4 and "task 'boxes': is detection; the format takes segmentation" in done.lines


def test_masks_of_many_classes_have_16_bits(tmp_path):
    task = Segmentation("fine", tuple(f"class {i}" for i in range(300)))
    mask = np.arange(24).reshape(SIZE) * 12 + 10
    mask[0, 0] = -1
    convert(write(tmp_path / "data", task, mask), "masks", tmp_path / "out")
    found = np.asarray(Image.open(tmp_path / "out/masks/0.png")).astype(int)
    assert found[0, 0] == 65535 and np.array_equal(found.ravel()[1:], mask.ravel()[1:])


def test_depth_is_in_millimeters_and_0_where_invalid(converted, records):
    out, _ = converted("depth", tasks=(toy.DEPTH.name,))
    for name in ("a.png", "night/b.png"):
        want = records[name].labels[toy.DEPTH.name]
        image = np.asarray(Image.open(out / "depth" / name)).astype(float)
        assert np.array_equal(image == 0, np.isnan(want)) and np.isnan(want).any()
        valid = image > 0
        np.testing.assert_allclose(image[valid] / 1000, want[valid], atol=0.5001e-3)


@pytest.mark.parametrize(("depth", "suffix"), [(65.535, "png"), (65.536, "npy"), (0.0006, "png"), (0.0004, "npy")])
def test_depth_that_does_not_fit_is_npy_and_counted(tmp_path, depth, suffix):
    label = np.full(SIZE, depth)
    label[0, 0] = np.nan
    done = convert(write(tmp_path / "data", Depth("depth"), label), "depth", tmp_path / "out")
    assert labeled.files(tmp_path / "out/depth") == [f"0.{suffix}"]
    assert any("do not fit" in line for line in done.lines) == (suffix == "npy")


def test_affine_inverse_depth_is_exact_in_npy(converted, records):
    out, _ = converted("depth", tasks=("inverse",))
    found = np.load(out / "depth/a.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, records["a.png"].labels["inverse"])


def test_normals_are_exact_in_npy_and_colors_in_png(converted, records):
    out, _ = converted("normals")
    want = records["a.png"].labels[toy.NORMALS.name]
    np.testing.assert_array_equal(np.load(out / "normals/a.npy"), want)
    image = np.asarray(Image.open(out / "normals/a.png")).astype(float)
    valid = image.any(-1)
    assert np.array_equal(valid, want.any(-1)) and not valid.all()
    vectors = image[valid] / 127.5 - 1
    cosines = (vectors * want[valid]).sum(-1) / np.linalg.norm(vectors, axis=-1)
    assert np.degrees(np.arccos(np.clip(cosines, -1, 1))).max() < 0.6
