"""Decoding makes records whose pixels TensorFlow and Pillow agree on, or quarantines the file with a reason."""

import base64
import hashlib
import importlib.util
import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from must_tf.records import Quarantined, Record
from must_tf.sources.decoding import decode, in_order, to_record

PIXELS = toy.random_image(np.random.default_rng(0), 24, 40)
PICTURE = Image.fromarray(PIXELS)
ORIENTATION = 0x0112


def encoded(image, kind, **arguments):
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **arguments)
    return buffer.getvalue()


def dark():
    """Returns a new black frame for each file, because Pillow's images remember how they were saved."""
    return Image.new("RGB", PICTURE.size)


def pixels(record):
    """Returns the pixels as training decodes them."""
    assert isinstance(record, Record), record
    image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    assert image.shape == (record.height, record.width, 3) and image.dtype == np.uint8
    return image


def difference(one, other):
    return np.abs(one.astype(int) - other)


# Images of 8x8 pixels, orange and blue, by encoders of libjpeg-turbo that Pillow does not offer.
RARE = {
    "arithmetic": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMU"
        "FRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
        "FBQUFBQUFBQUFBT/yQARCAAIAAgDAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ALwXB0hbMKcDOeh63ki5GIew"
        "HS/ZQczbRdeEYBoE/9k="
    ),
    "lossless": (
        "/9j/7gAOQWRvYmUAZAAAAAAA/8MAEQgACAAIA1IRAEcRAEIRAP/EABgAAQEBAQEAAAAAAAAAAAAAAAAIBgcF/9oADANSAEcAQgAB"
        "AADpHh8xAEl5eqgAABJeXqoAAASXl6qAAAEl5eqgAABJeXqoAAASXl6qAAAEl5eqgAABJeXqoAf/2Q=="
    ),
    "12 bits": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19i"
        "Z2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj"
        "Y2NjY2NjY2P/wQARDAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAn/xAAYEAEAAwEAAAAAAAAAAAAAAAAACUeF"
        "xP/EABUBAQEAAAAAAAAAAAAAAAAAAAcJ/8QAHxEAAAMJAAAAAAAAAAAAAAAAAAOEBAUGCAk3OLS1/9oADAMBAAIRAxEAPwCfMmNa"
        "6nIAs3Taxhhhb0GsFU41632n1CB//9k="
    ),
}
RARE = {name: base64.b64decode(text) for name, text in RARE.items()}


def png_chunks(header, *chunks):
    """Returns a PNG with chunks that Pillow does not write; header is (width, height, bit depth, color type)."""
    width, height, depth, color = header
    ihdr = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, color, 0, 0, 0])

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [(b"IHDR", ihdr), *chunks, (b"IEND", b"")])


DEEP = np.random.default_rng(1).integers(0, 65536, (6, 5, 3), np.uint16)
DEEP_RGB = png_chunks(
    (5, 6, 16, 2), (b"IDAT", zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP)))
)
TWO_BITS = png_chunks((4, 2, 2, 0), (b"gAMA", (45455).to_bytes(4, "big")), (b"IDAT", zlib.compress(b"\0\x1b\0\xe4")))

PLAIN = {
    "rgb.jpg": encoded(PICTURE, "JPEG"),
    "fine.jpg": encoded(PICTURE, "JPEG", quality=95, subsampling=0),
    "gray.jpg": encoded(PICTURE.convert("L"), "JPEG"),
    "progressive.jpg": encoded(PICTURE, "JPEG", progressive=True),
    "restarts.jpg": encoded(PICTURE, "JPEG", restart_marker_blocks=2),
    "untransformed.jpg": encoded(PICTURE, "JPEG", keep_rgb=True),
    "several.jpg": encoded(PICTURE, "MPO", save_all=True, append_images=[dark()]),
    "upright.jpg": encoded(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0"),
    "arithmetic.jpg": RARE["arithmetic"],
    "rgb.png": encoded(PICTURE, "PNG"),
    "gray.png": encoded(PICTURE.convert("L"), "PNG"),
    "2 bits.png": TWO_BITS,
    "16 bits.png": DEEP_RGB,
    "png named.jpg": encoded(PICTURE, "PNG"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_jpeg_and_png_keep_their_bytes_and_decode_alike_in_tensorflow(name):
    record = to_record(name, PLAIN[name])
    assert record.encoded == PLAIN[name] and not record.reencoded and record.name == name
    assert record.id == hashlib.sha256(PLAIN[name]).hexdigest()[:16]
    assert record.format == ("PNG" if "png" in name else "JPEG")
    want = np.asarray(Image.open(io.BytesIO(PLAIN[name])).convert("RGB"))
    apart = difference(pixels(record), want)  # TensorFlow uses libjpeg's fast transform
    assert apart.max() <= (0 if record.format == "PNG" else 16) and apart.mean() < 1.5


@pytest.mark.parametrize("name", [name for name in PLAIN if name.endswith("jpg") and "png" not in name])
@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_jpeg_of_any_kind_decodes_at_a_reduced_size(name, ratio):
    record = to_record(name, PLAIN[name], look=lambda record: decode(record, ratio))
    assert record.encoded == PLAIN[name] and not record.reencoded
    height, width = record.height // ratio, record.width // ratio
    blocks = to_record(name, PLAIN[name]).seen.reshape(height, ratio, width, ratio, 3)
    assert difference(record.seen, blocks.mean((1, 3))).mean() < 10


RGBA = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)])
RGBA[:10, :, 3] = 0
HOLED = np.where(RGBA[..., 3:] > 0, PIXELS, 255)
GRAY = np.asarray(PICTURE.convert("L").convert("RGB"))
DEEP_GRAY = DEEP[..., 0]
PALETTE = PICTURE.quantize(8)
QUANTIZED = np.asarray(PALETTE.convert("RGB"))
STAMPED = PIXELS.copy()
STAMPED[:5] = (1, 2, 3)
ONE_TRANSPARENT = np.where((STAMPED == (1, 2, 3)).all(-1, keepdims=True), 255, STAMPED)
GRAY_HOLE = np.array([[0, 9], [9, 200]], np.uint8)

# {name: (file, expected pixels, largest error)}
OTHERS = {
    "palette.png": (encoded(PALETTE, "PNG"), QUANTIZED, 0),
    "alpha.png": (encoded(Image.fromarray(RGBA), "PNG"), HOLED, 0),
    "gray and alpha.png": (encoded(PICTURE.convert("LA"), "PNG"), GRAY, 0),
    "transparent color.png": (encoded(Image.fromarray(STAMPED), "PNG", transparency=(1, 2, 3)), ONE_TRANSPARENT, 0),
    "transparent gray.png": (
        encoded(Image.fromarray(GRAY_HOLE), "PNG", transparency=9),
        np.array([[0, 255], [255, 200]])[..., None],
        0,
    ),
    "transparent index.png": (
        encoded(PALETTE, "PNG", transparency=0),
        np.where(np.asarray(PALETTE)[..., None] == 0, 255, QUANTIZED),
        0,
    ),
    "transparent indices.png": (
        encoded(PALETTE, "PNG", transparency=b"\0\xff\0"),
        np.where(np.isin(np.asarray(PALETTE), (0, 2))[..., None], 255, QUANTIZED),
        0,
    ),
    "16 bits gray.png": (encoded(Image.fromarray(DEEP_GRAY), "PNG"), DEEP_GRAY[..., None] // 256, 0),
    "16 bits gray.tif": (encoded(Image.fromarray(DEEP_GRAY), "TIFF"), DEEP_GRAY[..., None] // 256, 0),
    "1 bit.png": (
        encoded(Image.fromarray(PIXELS[..., 0] > 99), "PNG"),
        np.where(PIXELS[..., :1] > 99, 255, 0),
        0,
    ),
    "animation.png": (encoded(PICTURE, "PNG", save_all=True, append_images=[dark()]), PIXELS, 0),
    "animation.gif": (encoded(PALETTE, "GIF", save_all=True, append_images=[dark()]), QUANTIZED, 0),
    "animation.webp": (
        encoded(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[dark()]),
        PIXELS,
        0,
    ),
    "palette.gif": (encoded(PALETTE, "GIF"), QUANTIZED, 0),
    "transparent.webp": (encoded(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True), HOLED, 0),
    "plain.bmp": (encoded(PICTURE, "BMP"), PIXELS, 0),
    "plain.tif": (encoded(PICTURE, "TIFF"), PIXELS, 0),
    "pages.tif": (encoded(PICTURE, "TIFF", save_all=True, append_images=[dark()]), PIXELS, 0),
    "float.tif": (encoded(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"), PIXELS[..., :1], 0),
    "cmyk.jpg": (encoded(PICTURE.convert("CMYK"), "JPEG", quality=100), PIXELS, 24),
    "lossless.jpg": (RARE["lossless"], np.repeat([[(200, 100, 50), (20, 60, 220)]], 4, axis=1)[0][None], 0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_images_become_rgb_png_of_the_same_pixels(name):
    data, want, bound = OTHERS[name]
    record = to_record(name, data)
    assert isinstance(record, Record) and record.reencoded and record.format == "PNG"
    assert record.id == hashlib.sha256(data).hexdigest()[:16]
    assert Image.open(io.BytesIO(record.encoded)).mode == "RGB"
    assert difference(pixels(record), want).max() <= bound


TURNED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, -1),
    7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(PIXELS),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_image_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    more = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    record = to_record("a", encoded(PICTURE, kind, exif=exif, **more))
    found = pixels(record)
    assert found.shape == TURNED[orientation].shape
    assert difference(found, TURNED[orientation]).max() <= (16 if kind == "JPEG" else 0)
    assert Image.open(io.BytesIO(record.encoded)).getexif().get(ORIENTATION, 1) == 1


BROKEN = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"this is no image", "is not a JPEG"),
    "page.png": (b"<html></html>", "is not a JPEG"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a JPEG"),
    "cut.jpg": (PLAIN["rgb.jpg"][:-40], "damaged JPEG: OSError: .*truncated"),
    "cut progressive.jpg": (PLAIN["progressive.jpg"][:-40], "damaged JPEG: OSError: .*truncated"),
    "half.png": (PLAIN["rgb.png"][: len(PLAIN["rgb.png"]) // 2], "damaged PNG"),
    "half.gif": (OTHERS["palette.gif"][0][:60], "damaged GIF"),
    "half.webp": (OTHERS["animation.webp"][0][:60], "damaged WEBP"),
    "header.jpg": (PLAIN["rgb.jpg"][:3], "damaged JPEG"),
    "header.png": (PLAIN["rgb.png"][:8], "damaged PNG"),
    "sound.webp": (b"RIFF\x10\0\0\0WAVEfmt ", "damaged WEBP"),
    "12 bits.jpg": (RARE["12 bits"], "damaged JPEG: .*12-bit"),
    "no tiff.tif": (b"II*\0" + b"\xff" * 20, "damaged TIFF"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_bytes_are_quarantined_with_a_reproducible_reason(name):
    data, reason = BROKEN[name]
    found = to_record(name, data)
    assert isinstance(found, Quarantined) and found.name == name and found == to_record(name, data)
    assert re.search(reason, found.reason), found.reason
    assert "\n" not in found.reason and "0x" not in found.reason


def huge(kind):
    """Returns a small file whose header claims 30000 x 30000 pixels."""
    if kind == "PNG":
        return png_chunks((30000, 30000, 8, 2), (b"IDAT", zlib.compress(b"\0")))
    data = bytearray(encoded(Image.new("RGB", (16, 16)), kind))
    if kind == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = (30000).to_bytes(2, "big") * 2
    elif kind == "GIF":
        data[6:10] = (30000).to_bytes(2, "little") * 2
    else:
        data[18:26] = (30000).to_bytes(4, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_decompression_bomb_is_quarantined_by_its_header(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = to_record("a", huge(kind))
    assert found.reason == "30000x30000 = 900000000 pixels, more than the limit of 178956970"


@pytest.mark.parametrize(("side", "message"), [(10_000, "more than the limit of 1000"), (60_000, "exceeds limit of")])
def test_decompression_bomb_in_a_frame_is_quarantined_without_a_warning(side, message):
    data = bytearray(OTHERS["palette.gif"][0])
    frame = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1)) + 5  # its width and height
    data[frame : frame + 4] = side.to_bytes(2, "little") * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = to_record("a", bytes(data), 1000)
    assert message in found.reason and str(side**2) in found.reason


@pytest.mark.parametrize("name", ["rgb.jpg", "rgb.png", "palette.gif", "plain.tif", "animation.webp"])
def test_limit_of_pixels_is_inclusive(name):
    data = PLAIN[name] if name in PLAIN else OTHERS[name][0]
    assert isinstance(to_record(name, data, 24 * 40), Record)
    assert to_record(name, data, 24 * 40 - 1).reason == "40x24 = 960 pixels, more than the limit of 959"


def test_image_that_pillow_reads_but_tensorflow_does_not_is_quarantined():
    line = Image.new("1", (1_000_001, 1))  # libpng's limit is a million
    found = to_record("a", encoded(line, "PNG"))
    assert isinstance(found, Quarantined) and "1000001x1" in found.reason


@given(st.lists(st.integers(), max_size=40))
def test_in_order_keeps_the_order_of_items(items):
    assert list(in_order(lambda item: item + 1, iter(items))) == [item + 1 for item in items]


RAMP = np.linspace(0, 1, 64 * 48).reshape(48, 64)
DEEP = {  # gray of more than 8 bits: the picture, and whether its contrast is kept
    "12 bits in 16": (Image.fromarray((RAMP * 4095).astype(np.uint16)), "PNG", False),
    "16 bits": (Image.fromarray((RAMP * 65535).astype(np.uint16)), "PNG", True),
    "32 bits": (Image.fromarray((RAMP * 255).astype(np.int32)), "TIFF", False),
    "floats to 1": (Image.fromarray(RAMP.astype(np.float32)), "TIFF", True),
    "floats to 255": (Image.fromarray((RAMP * 255).astype(np.float32)), "TIFF", True),
}


@pytest.mark.parametrize("name", DEEP)
def test_gray_of_more_than_8_bits_keeps_its_contrast_or_is_noted(name):
    image, kind, is_kept = DEEP[name]
    record = to_record(name, encoded(image, kind))
    values = pixels(record)
    if is_kept:
        assert (values.min(), values.max()) == (0, 255) and record.notes == []
        np.testing.assert_allclose(values[..., 0], RAMP * 255, atol=1)
    else:
        assert values.max() < 32 and ["nearly black" in note for note in record.notes] == [True]


def test_floats_beyond_255_are_noted():
    record = to_record("a", encoded(Image.fromarray((RAMP * 300).astype(np.float32)), "TIFF"))
    assert ["which are clipped" in note for note in record.notes] == [True]


def tiff(values):
    """Returns colors of 16 bits as a TIFF, which Pillow does not write."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    short, long, bits = 3, 4, 8 + 2 + 12 * 9 + 4  # types, and the offset of what lies behind the nine entries
    entries = [
        (256, short, 1, width), (257, short, 1, height), (258, short, 3, bits), (259, short, 1, 1), (262, short, 1, 2),
        (273, long, 1, bits + 6), (277, short, 1, 3), (278, short, 1, height), (279, long, 1, len(data)),
    ]  # fmt: skip
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, 9) + listed + struct.pack("<I3H", 0, 16, 16, 16) + data


@pytest.mark.parametrize("kind", ["png", "with alpha", "tiff"])
def test_dark_colors_of_16_bits_are_noted(kind):
    color = np.repeat((RAMP * 4095).astype(np.uint16)[..., np.newaxis], 3, -1)
    for values, notes in ((color, 1), (color * 16, 0)):
        if kind == "with alpha":
            values = np.concatenate([values, np.full_like(values[..., :1], 65535)], -1)
        record = to_record("a", tiff(values) if kind == "tiff" else tf.io.encode_png(values).numpy())
        assert record.reencoded == (kind != "png") and len(record.notes) == notes


def test_orientation_is_known_where_exif_turned_the_picture():
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert to_record("a", encoded(PICTURE, "JPEG", exif=exif)).orientation == orientation


def test_avif_is_read_and_heic_names_what_is_missing():
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    if importlib.util.find_spec("pillow_heif") is None:
        assert "pip install pillow-heif" in to_record("a", heic).reason
    if features.check("avif"):
        record = to_record("a", encoded(PICTURE, "AVIF", quality=100))
        assert record.reencoded and (record.height, record.width) == PIXELS.shape[:2]


def test_avif_without_its_part_of_pillow_is_named(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    assert "is AVIF, which Pillow cannot read here" in to_record("a", b"\0\0\0\x18ftypavif\0\0\0\0").reason
