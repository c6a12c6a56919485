"""Reads a miniature of DIODE: its folders and arrays; the signs of its axes follow from its own depth maps."""

import itertools

import layouts
import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.sources import open_source

SIGNS = list(itertools.product((1, -1), repeat=3))
SIZE = (24, 32)


def surface(seed):
    """Returns the depth [H, W] of a wavy wall in our frame, and its normals [H, W, 3], which face the camera."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    a, b, c = rng.uniform(0.2, 1, 3)
    depth = 8 + a * np.sin(2 * x) - 2 * b * y + c * x * y
    slopes = np.stack([2 * a * np.cos(2 * x) + c * y, -2 * b + c * x], -1)
    normals = np.concatenate([slopes, np.full((*SIZE, 1), -1.0)], -1)
    return depth, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def write(folder, seed, signs):
    place = folder / "train" / "outdoor" / "scene_00001" / "scan_00010"
    name = f"00001_00010_outdoor_000_{seed:03d}"
    depth, normals = surface(seed)
    mask = np.ones(SIZE, np.float64)
    mask[:4], normals[:4], depth[:4] = 0, 0, 0
    layouts.write_png(place / f"{name}.png", np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)))
    np.save(place / f"{name}_depth.npy", depth[..., np.newaxis].astype(np.float32))
    np.save(place / f"{name}_depth_mask.npy", mask)
    np.save(place / f"{name}_normal.npy", (normals * signs).astype(np.float32))
    return place / f"{name}.png", normals


@pytest.mark.parametrize("signs", SIGNS)
def test_normals_are_in_our_frame_whatever_the_signs_of_diodes_axes(tmp_path, signs):
    written = [write(tmp_path, seed, signs) for seed in range(3)]
    task, records, bad = layouts.entries(f"diode:{tmp_path}/train/outdoor")
    assert task.name == "diode_normals" and not bad
    for path, normals in written:
        found = records[path.name].labels[task.name]
        np.testing.assert_allclose(found, normals, atol=1e-6)
        assert not found[:4].any() and (found[4:, :, 2] < 0).all()


def test_map_that_does_not_fit_its_image_is_quarantined(tmp_path):
    (first, _), (second, _), (third, _) = (write(tmp_path, seed, (1, 1, 1)) for seed in range(3))
    np.save(
        str(second).replace(".png", "_normal.npy"), np.zeros((*SIZE, 3))
    )  # no valid vector: a record without a label
    source = open_source(f"diode:{tmp_path}/train/outdoor", 10)
    np.save(str(first).replace(".png", "_normal.npy"), np.zeros((5, 5, 3)))
    (third.parent / third.name.replace(".png", "_normal.npy")).write_bytes(b"rubbish")
    entries = [entry for shard in source.shards for entry in shard()]
    assert "this one has 24x32" in entries[0].reason and "its label cannot be read" in entries[2].reason
    assert source.tasks[0].encode(entries[1].labels["diode_normals"]) == {}


def test_images_without_normals_are_left_out_and_a_missing_part_says_where_to_get_it(tmp_path):
    path, _ = write(tmp_path, 0, (1, 1, 1))
    layouts.write_png(path.with_name("more.png"), np.zeros((*SIZE, 3)))
    assert open_source(f"diode:{tmp_path}/train/outdoor").count == 1
    path.with_name(path.name.replace(".png", "_depth.npy")).unlink()
    for where in ("train/outdoor", "val/outdoor"):
        with pytest.raises(UserError, match="from diode-dataset"):
            open_source(f"diode:{tmp_path}/{where}")


def test_depth_that_does_not_determine_the_signs_is_refused(tmp_path):
    path, _ = write(tmp_path, 0, (1, 1, 1))
    np.save(str(path).replace(".png", "_depth.npy"), np.full((*SIZE, 1), 3.0))
    with pytest.raises(UserError, match=r"1 images do not determine the signs of the normals' axes; get train\.tar"):
        open_source(f"diode:{tmp_path}/train/outdoor")
