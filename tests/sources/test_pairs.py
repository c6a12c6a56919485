"""Masks, depth and normals of your own: folders of images and of maps with the same names."""

import layouts
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from must_tf.errors import UserError
from must_tf.sources import open_source

NAMES = ("a", "scene/b")
SHAPES = {"inside": "{split}/{kind}", "beside": "{kind}/{split}"}


@pytest.fixture(params=SHAPES)
def folder(request, tmp_path):
    """Returns a function: the folder of the images, or of the maps, of a kind."""

    def place(kind):
        path = tmp_path / "set" / SHAPES[request.param].format(split="train", kind=kind)
        for name in ("a", "scene/b"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
        return path

    for number, name in enumerate(NAMES):
        layouts.write_jpeg(place("images") / f"{name}.jpg", 20, 40, number)
    return place


def describe(folder, name, text):
    root = next(path for path in folder("images").parents if path.name == "set")
    (root / name).write_text(text)
    return root / "train"


def label(root, kind, **options):
    task, records, bad = layouts.entries(f"{kind}:{root}", **options)
    assert not bad
    return task, records["a.jpg"].labels[task.name], records["a.jpg"].notes


@pytest.mark.parametrize("mode", ["gray", "palette", "16 bits"])
def test_masks_have_ids_in_gray_or_palette(folder, mode):
    expected = np.zeros((20, 40), np.int64)
    expected[:5], expected[5:8] = 2, -1
    stored = np.where(expected < 0, 65535 if mode == "16 bits" else 255, expected)
    for name in NAMES:
        path = folder("masks") / f"{name}.png"
        if mode == "16 bits":
            Image.fromarray(stored.astype(np.uint16)).save(path)
        else:
            layouts.write_png(path, stored, palette=mode == "palette")
    root = describe(folder, "classes.txt", "background\ncat\ndog\n")
    task, mask, notes = label(root, "masks")
    assert (task.name, task.class_names) == ("segmentation", ("background", "cat", "dog")) and not notes
    np.testing.assert_array_equal(mask, expected)


def test_binary_mask_of_255_is_noted(folder):
    mask = np.zeros((20, 40))
    mask[:5] = 255
    for name in NAMES:
        layouts.write_png(folder("masks") / f"{name}.png", mask)
    _, _, notes = label(describe(folder, "classes.txt", "background\ncat\n"), "masks")
    assert any("0 and 255 alone" in note for note in notes)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full((20, 40), 7), "class 7 found, expected 0 to 1"),
        (np.zeros((20, 40, 3)), "has mode RGB, expected ids"),
        (np.zeros((40, 20)), "a.png is for a picture of 40x20, this one has 20x40"),
    ],
)
def test_wrong_mask_is_quarantined(folder, mask, said):
    layouts.write_png(folder("masks") / "a.png", mask)
    layouts.write_png(folder("masks") / "scene/b.png", np.zeros((20, 40)))
    _, records, bad = layouts.entries(
        f"masks:{describe(folder, 'classes.txt', 'background,cat'.replace(',', chr(10)))}"
    )
    assert set(records) == {"b.jpg"} and said in bad[0].reason


METERS = np.linspace(0.5, 9, 800).reshape(20, 40)


@pytest.mark.parametrize(
    ("suffix", "values", "scale"),
    [
        (".png", np.rint(METERS * 1000).astype(np.uint16), ""),
        (".png", np.rint(METERS * 5000).astype(np.uint16), "0.0002"),
        (".tif", METERS.astype(np.float32), ""),
        (".npy", METERS[..., np.newaxis], ""),
        (".npy", (METERS * 100).astype(np.float32), "0.01"),
        (".npy", np.rint(METERS * 1000).astype(np.int32), ""),
    ],
)
def test_depth_becomes_meters(folder, suffix, values, scale):
    values = values.copy()
    values[0] = 0
    for name in NAMES:
        path = folder("depth") / f"{name}{suffix}"
        np.save(path, values) if suffix == ".npy" else Image.fromarray(values).save(path)
    root = describe(folder, "scale.txt", scale) if scale else describe(folder, "readme.txt", "")
    task, depth, notes = label(root, "depth")
    assert (task.name, task.convention) == ("depth", "metric") and not notes
    assert np.isnan(depth[0]).all()
    np.testing.assert_allclose(depth[1:], METERS[1:], atol=1e-3)


def test_depth_in_the_wrong_unit_is_noted_and_of_8_bits_is_quarantined(folder):
    np.save(folder("depth") / "a.npy", METERS * 1000)
    layouts.write_png(folder("depth") / "scene/b.png", np.ones((20, 40)))
    _, records, bad = layouts.entries(f"depth:{describe(folder, 'readme.txt', '')}")
    assert any("give the meters of one unit" in note for note in records["a.jpg"].notes)
    assert "has values of uint8, expected 16 bits" in bad[0].reason


def test_depth_that_was_divided_by_its_maximum_is_noted(folder):
    for name in NAMES:
        np.save(folder("depth") / f"{name}.npy", METERS / METERS.max())
    _, _, notes = label(describe(folder, "readme.txt", ""), "depth")
    assert any("divided by the largest depth?" in note for note in notes)
    _, _, notes = label(describe(folder, "scale.txt", "9"), "depth")
    assert not notes


def vectors():
    rng = np.random.default_rng(0)
    made = rng.normal(size=(20, 40, 3)) * (1, 1, 0.2) - (0, 0, 2)
    made /= np.linalg.norm(made, axis=-1, keepdims=True)
    made[0] = 0
    return made


@pytest.mark.parametrize("form", ["npy", "8 bits", "16 bits"])
@pytest.mark.parametrize("signs", ["", "1 -1 -1"])
def test_normals_are_turned_into_our_frame(folder, form, signs):
    expected = vectors()
    stored = expected * np.array([float(sign) for sign in (signs or "1 1 1").split()])
    valid = expected.any(-1, keepdims=True)
    for name in NAMES:
        path = folder("normals") / f"{name}.{'npy' if form == 'npy' else 'png'}"
        if form == "npy":
            np.save(path, stored)
        else:
            kind, top = (np.uint8, 255) if form == "8 bits" else (np.uint16, 65535)
            values = np.where(valid, np.rint((stored + 1) / 2 * top), 0).astype(kind)
            path.write_bytes(tf.io.encode_png(values).numpy())
    root = describe(folder, "axes.txt", signs) if signs else describe(folder, "readme.txt", "")
    task, normals, _ = label(root, "normals")
    assert task.name == "normals" and not normals[0].any()
    np.testing.assert_allclose(normals[1:], expected[1:], atol={"npy": 1e-6, "8 bits": 4e-3, "16 bits": 2e-5}[form])


def test_normals_away_from_the_camera_are_quarantined(folder):
    for name in NAMES:
        np.save(folder("normals") / f"{name}.npy", -vectors())
    _, records, bad = layouts.entries(f"normals:{describe(folder, 'readme.txt', '')}")
    assert (
        not records and "most vectors do not point towards the camera" in bad[0].reason and "axes.txt" in bad[0].reason
    )


@pytest.mark.parametrize("values", [vectors() / 2 + 0.5, np.rint(vectors() * 127.5 + 127.5).astype(np.uint8)])
def test_coded_normals_in_an_array_are_quarantined(folder, values):
    values[1:] = values[1:].max((0, 1)) * (1, 1, 0)  # walls that face the camera, where z is coded as 0
    for name in NAMES:
        np.save(folder("normals") / f"{name}.npy", values)
    _, records, bad = layouts.entries(f"normals:{describe(folder, 'readme.txt', '')}")
    assert not records and "from -1 to 1 in a .npy" in bad[0].reason


@pytest.mark.parametrize("gray", [127, 128])
def test_gray_of_no_direction_is_invalid_like_black(folder, gray):
    values = np.rint((vectors() + 1) * 127.5).astype(np.uint8)
    values[0] = gray
    for name in NAMES:
        layouts.write_png(folder("normals") / f"{name}.png", values)
    _, normals, _ = label(describe(folder, "readme.txt", ""), "normals")
    assert not normals[0].any() and normals[1:].any(-1).all()


def test_what_has_no_partner_is_left_out_and_counted(folder):
    np.save(folder("depth") / "a.npy", METERS)
    np.save(folder("depth") / "z.npy", METERS)
    source = open_source(f"depth:{describe(folder, 'readme.txt', '')}")
    assert source.count == 1
    assert ["1 images without a map" in source.warnings[0], "1 maps without an image" in source.warnings[1]] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("kind", "name", "text", "said"),
    [
        ("masks", "readme.txt", "", "no classes.txt in"),
        ("masks", "classes.txt", "cat\ncat\n", "classes.txt: 'cat' is there twice"),
        ("masks", "classes.txt", "cat\n\ndog\n\n", "classes.txt: line 2 is empty; expected the name of class 1"),
        ("masks", "classes.txt", "\n", "classes.txt: names no class"),
        ("depth", "scale.txt", "1 mm", "scale.txt: '1 mm' received; expected 1 number"),
        ("depth", "scale.txt", "0", "expected the meters of one unit, above 0"),
        ("normals", "axes.txt", "1 1", "expected 3 numbers"),
        ("normals", "axes.txt", "1 1 2", "expected three signs"),
    ],
)
def test_wrong_description_is_refused(folder, kind, name, text, said):
    suffix = ".png" if kind == "masks" else ".npy"
    for stem in NAMES:
        (folder(kind) / f"{stem}{suffix}").touch()
    with pytest.raises(UserError, match=said):
        open_source(f"{kind}:{describe(folder, name, text)}")


def test_maps_of_other_names_are_refused(folder):
    root = describe(folder, "readme.txt", "")
    (folder("depth") / "x.npy").touch()
    with pytest.raises(UserError, match=r"no image has a map of its name; 'a' is an image, and the maps are .*x"):
        open_source(f"depth:{root}")


def test_array_is_taken_where_a_map_is_there_twice(folder):
    np.save(folder("depth") / "a.npy", METERS)
    Image.fromarray(np.ones((20, 40), np.uint16)).save(folder("depth") / "a.png")
    root = describe(folder, "readme.txt", "")
    _, depth, _ = label(root, "depth")
    np.testing.assert_allclose(depth, METERS, rtol=1e-6)
    assert any("1 maps that are there as npy, too, left out" in line for line in open_source(f"depth:{root}").warnings)


def test_arrays_that_are_damaged_or_none_are_quarantined(folder):
    np.savez(folder("depth") / "a.npz", METERS)
    (folder("depth") / "a.npz").rename(folder("depth") / "a.npy")
    np.save(folder("depth") / "scene/b.npy", METERS)
    whole = (folder("depth") / "scene/b.npy").read_bytes()
    root = describe(folder, "readme.txt", "")
    for damaged in (whole[:-8], whole.replace(b"(20, 40)", b"(2**9,)"), b""):
        (folder("depth") / "scene/b.npy").write_bytes(damaged)
        _, records, bad = layouts.entries(f"depth:{root}")
        assert not records and all("its label cannot be read" in entry.reason for entry in bad)


def test_another_scale_makes_other_labels(folder):
    for name in NAMES:
        np.save(folder("depth") / f"{name}.npy", METERS)
    before = open_source(f"depth:{describe(folder, 'other.txt', '')}").listing
    assert open_source(f"depth:{describe(folder, 'scale.txt', '0.5')}").listing != before
