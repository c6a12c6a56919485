"""Which files become records: those that people have, whole and damaged."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record
from must_tf.sources.images import find_images, read_image, split_evenly

PIXELS = toy.random_image(np.random.default_rng(0), 24, 40)
PICTURE = Image.fromarray(PIXELS)


def encoded(image, kind, **arguments):
    buffer = io.BytesIO()
    image.save(buffer, kind, **arguments)
    return buffer.getvalue()


def rotated_jpeg(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(PICTURE, "JPEG", exif=exif, quality=95)


def read(tmp_path, data, name="a.jpg"):
    path = tmp_path / name
    path.write_bytes(data)
    return read_image(path)


def pixels(record):
    """The pixels as training will see them."""
    image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    assert image.shape == (record.height, record.width, 3) and image.dtype == np.uint8
    return image


PLAIN = {
    "rgb.jpg": encoded(PICTURE, "JPEG"),
    "grey.jpg": encoded(PICTURE.convert("L"), "JPEG"),
    "progressive.jpg": encoded(PICTURE, "JPEG", progressive=True),
    "rgb.png": encoded(PICTURE, "PNG"),
    "grey.png": encoded(PICTURE.convert("L"), "PNG"),
    "png named.jpg": encoded(PICTURE, "PNG"),
    "upright.jpg": rotated_jpeg(1),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_jpeg_and_png_stay_byte_for_byte(tmp_path, name):
    record = read(tmp_path, PLAIN[name], name)
    assert record.encoded == PLAIN[name] and not record.reencoded
    assert record.format == Image.open(io.BytesIO(PLAIN[name])).format
    assert pixels(record).shape == (24, 40, 3)
    assert record.id == hashlib.sha256(PLAIN[name]).hexdigest()[:16]


OTHERS = {
    "palette.png": encoded(PICTURE.quantize(8), "PNG"),
    "palette.gif": encoded(PICTURE, "GIF"),
    "animation.gif": encoded(PICTURE, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 24))]),
    "animation.png": encoded(PICTURE, "PNG", save_all=True, append_images=[Image.new("RGB", (40, 24))]),
    "alpha.png": encoded(PICTURE.convert("RGBA"), "PNG"),
    "grey and alpha.png": encoded(PICTURE.convert("LA"), "PNG"),
    "bits.png": encoded(PICTURE.convert("1"), "PNG"),
    "cmyk.jpg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "lossless.webp": encoded(PICTURE, "WEBP", lossless=True),
    "plain.bmp": encoded(PICTURE, "BMP"),
    "plain.tif": encoded(PICTURE, "TIFF"),
    "float.tif": encoded(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_become_rgb_png_and_are_marked(tmp_path, name):
    record = read(tmp_path, OTHERS[name], name)
    assert record.reencoded and record.format == "PNG"
    assert record.id == hashlib.sha256(OTHERS[name]).hexdigest()[:16]
    want = np.asarray(PICTURE.convert("L").convert("RGB") if "grey" in name else PICTURE)
    if name.split(".")[0] in ("palette", "animation"):
        assert np.abs(pixels(record).astype(int) - want).mean() < 40
    elif name == "float.tif":
        np.testing.assert_array_equal(pixels(record)[..., 0], PIXELS[..., 0])
    elif name != "bits.png":
        assert np.abs(pixels(record).astype(int) - want).mean() < 12


@pytest.mark.parametrize("orientation", range(2, 9))
def test_image_is_turned_upright(tmp_path, orientation):
    record = read(tmp_path, rotated_jpeg(orientation))
    turned = {
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS),
    }[orientation]
    assert np.abs(pixels(record).astype(int) - turned).mean() < 30
    assert Image.open(io.BytesIO(record.encoded)).getexif().get(0x0112, 1) == 1


def test_transparent_pixels_lie_on_white(tmp_path):
    rgba = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)])
    rgba[:10, :, 3] = 0
    found = pixels(read(tmp_path, encoded(Image.fromarray(rgba), "PNG"), "a.png"))
    assert (found[:10] == 255).all()
    np.testing.assert_array_equal(found[10:], PIXELS[10:])


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (9, 11), np.uint16)
    found = pixels(read(tmp_path, encoded(Image.fromarray(values), "PNG"), "a.png"))
    assert np.abs(found[..., 0].astype(int) - values // 256).max() <= 1


BROKEN = {
    "empty.jpg": b"",
    "text.jpg": b"this is no image",
    "page.png": b"<html></html>",
    "truncated.jpg": PLAIN["rgb.jpg"][: len(PLAIN["rgb.jpg"]) // 2],
    "truncated.png": PLAIN["rgb.png"][: len(PLAIN["rgb.png"]) // 2],
    "truncated.gif": OTHERS["palette.gif"][:60],
    "header.png": PLAIN["rgb.png"][:8],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_quarantined_with_a_reason(tmp_path, name):
    found = read(tmp_path, BROKEN[name], name)
    assert isinstance(found, Quarantined) and name in found.name and found.reason and "\n" not in found.reason


def test_folder_and_missing_file_are_quarantined(tmp_path):
    assert isinstance(read_image(tmp_path), Quarantined)
    assert isinstance(read_image(tmp_path / "nowhere.jpg"), Quarantined)


@pytest.mark.parametrize("name", ["rgb.jpg", "rgb.png", "cmyk.jpg", "palette.gif", "lossless.webp", "plain.tif"])
@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_is_more_than_a_quarantine(tmp_path_factory, name, data):
    content = bytearray({**PLAIN, **OTHERS}[name])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    assert isinstance(read_image(path), (Record, Quarantined))


# What is found


def test_folder_is_searched_to_its_bottom_and_sorted(tmp_path):
    names = ["b.JPG", "a/with space.png", "a/ünï—写真.jpeg", "a/b/c.gif", "z.webp"]
    for name in [*names, "notes.txt", "a/mask.npy"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_images(tmp_path) == sorted(str(tmp_path / name) for name in names)


def test_glob_and_list_are_found(tmp_path):
    for name in ("a.png", "b.png", "c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert find_images(tmp_path / "*.png") == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'c.jpg'}\n\n{tmp_path / 'a.png'}\n")
    assert find_images(tmp_path / "list.txt") == [str(tmp_path / "a.png"), str(tmp_path / "c.jpg")]


@pytest.mark.parametrize("where", ["nowhere", "nowhere/*.jpg", "."])
def test_nothing_found_is_refused_by_name(tmp_path, where):
    with pytest.raises(UserError, match=Path(where).name.replace("*", r"\*") if where != "." else "holds no image"):
        find_images(tmp_path / where)


@given(st.lists(st.text(max_size=3)), st.integers(1, 12))
def test_split_keeps_every_item_in_order_in_runs_of_like_length(items, count):
    runs = split_evenly(items, count)
    assert [item for run in runs for item in run] == items and len(runs) == count
    assert max(map(len, runs)) - min(map(len, runs)) <= 1
