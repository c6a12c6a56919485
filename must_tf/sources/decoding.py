"""Decodes and checks images: makes a record that TensorFlow can decode, or quarantines the file with a reason."""

import collections
import contextlib
import hashlib
import io
import itertools
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from must_tf.errors import first_line, one_line
from must_tf.records import Quarantined, Record

T = TypeVar("T")
U = TypeVar("U")

Look = Callable[[Record], Any]  # computes `Record.seen` from a record whose image it decodes with `decode`

MAX_PIXELS = 178_956_970  # half a gigabyte of RGB, and Pillow's own limit for decompression bombs
_THREADS = min(max(4, os.cpu_count() or 1), 16)  # at most 16, because each may hold an image of `MAX_PIXELS`
_ORIENTATION = 0x0112  # the EXIF tag
_DARK = 32  # of 256 levels; what is darker everywhere is nearly black
_NEARLY_BLACK = (
    "nearly black in 8 bits, because its values use less than 1/8 of the 16 bits of the file; multiply them (12-bit "
    "pictures by 16) and save it again"
)
_CLIPPED = "of floats beyond [0, 255], which are clipped; save it with 8 or 16 bits"
_PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # an entry of `warnings.filters`

# Formats by their first bytes; the name of the file does not matter. `Image.open` would try more formats: some that
# start other programs, and multi-picture JPEG, of which TensorFlow decodes only the first picture.
_FORMATS: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
    b"RIFF": WebPImageFile,
    b"BM": BmpImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
}

_AVIF = (b"avif", b"avis")  # brands of ISO media files
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class Undecodable(Exception):
    """TensorFlow cannot decode an image; the message is the reason."""


def decode(record: Record, ratio: int = 1) -> np.ndarray:
    """Returns the pixels as TensorFlow decodes them, uint8 RGB [height / ratio, width / ratio, 3], rounded up.

    Args:
      record: only the image is read, not the labels.
      ratio: 1; for a JPEG also 2, 4 or 8, which decodes fewer pixels in less time.

    Raises:
      Undecodable: the image is damaged, or its size differs from the record's.
    """
    try:
        if ratio == 1:
            pixels = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
        else:
            pixels = tf.io.decode_jpeg(record.encoded, channels=3, ratio=ratio).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise Undecodable(first_line(error)) from error
    if pixels.shape != (-(-record.height // ratio), -(-record.width // ratio), 3):
        raise Undecodable(f"shape {list(pixels.shape)} at 1/{ratio} of {record.height}x{record.width} pixels")
    return pixels


def look_at_nothing(record: Record) -> None:
    """Sees nothing of an image, which need not be decoded: a `Look`."""


def to_record(name: str, data: bytes, max_pixels: int = MAX_PIXELS, look: Look = decode) -> Record | Quarantined:
    """Makes a record without labels from an encoded image, or returns the reason why it cannot become one.

    An upright JPEG or PNG in gray or RGB keeps its bytes. Every other image is turned upright, converted to 8-bit RGB
    (transparent pixels on white) and stored as PNG; of an animation, the first frame is stored. TensorFlow has decoded
    every image that becomes a record, to its `height` and `width`. The first call silences Pillow's warnings in this
    process.

    Args:
      name: name of the image in messages.
      data: content of the file.
      max_pixels: an image whose header claims more pixels is not decoded. For GIF and TIFF, Pillow's own limit, which
        is the default, holds as well.
      look: computes `Record.seen` from the record, by default the pixels. It must decode the image, because this is the
        proof that the image can be decoded.
    """
    if not data:
        return Quarantined(name, "is empty")
    identity = id_of(data)
    try:
        image_class = _class_of(data)
    except Undecodable as error:
        return Quarantined(name, str(error), identity)
    _silence_pillow()
    try:
        with image_class(io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width}x{image.height} = {image.width * image.height} pixels"
                return Quarantined(name, f"{size}, more than the limit of {max_pixels}", identity)
            return _record(name, data, identity, image, look)
    except Image.DecompressionBombError as error:
        return Quarantined(name, str(error), identity)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return Quarantined(name, "needs more memory than is available", identity)
    except Exception as error:  # Pillow's errors about damaged bytes have no common class
        return Quarantined(name, f"damaged {image_class.format}: {type(error).__name__}: {one_line(error)}", identity)


def id_of(data: bytes) -> str:
    """Returns the id of an image, given the content of its file; see `Record`."""
    return hashlib.sha256(data).hexdigest()[:16]


def in_order(function: Callable[[T], U], items: Iterable[T], threads: int = _THREADS) -> Iterator[U]:
    """Maps a function over items on several threads, a few items in advance; results keep the order of the items."""
    with ThreadPoolExecutor(threads) as pool:
        iterator = iter(items)
        running = collections.deque(pool.submit(function, item) for item in itertools.islice(iterator, 2 * threads))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(function, item) for item in itertools.islice(iterator, 1))


def _class_of(data: bytes) -> type[ImageFile]:
    """Returns Pillow's class for a file by its first bytes; AVIF and HEIC need parts of Pillow that may be missing."""
    for magic, known in _FORMATS.items():
        if data.startswith(magic):
            return known
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF:
        if not features.check("avif"):
            raise Undecodable(
                "is AVIF, which Pillow cannot read here; run `pip install -U pillow`, or convert it to JPEG"
            )
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile
    if brand in _HEIC:
        try:
            from pillow_heif import HeifImageFile  # type: ignore[import-not-found]
        except ImportError:
            raise Undecodable("is HEIC; run `pip install pillow-heif`, or convert it to JPEG") from None
        return HeifImageFile
    raise Undecodable("is not a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC")


def _silence_pillow() -> None:
    """Turns off Pillow's warnings about unusual files; the manifest lists the files that were quarantined.

    `warnings.catch_warnings` does not do: threads would restore each other's filters in any order.
    """
    if _PILLOW_FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _record(name: str, data: bytes, identity: str, image: ImageFile, look: Look) -> Record | Quarantined:
    notes: list[str] = []
    is_deep = _is_16_bit(image)  # before the image is loaded
    if _is_plain(image):
        if is_deep and _is_dark(np.asarray(image)):
            notes.append(_NEARLY_BLACK)
        record = Record(data, str(image.format), image.height, image.width, identity, name=name, notes=notes)
        with contextlib.suppress(Undecodable):
            record.seen = look(record)
            return record
    orientation = image.getexif().get(_ORIENTATION, 1)
    encoded, height, width = _as_png(image, notes, is_deep)
    record = Record(encoded, "PNG", height, width, identity, reencoded=True, name=name, notes=notes)
    record.orientation = orientation if orientation in range(2, 9) else 1
    try:
        record.seen = look(record)
    except Undecodable:
        return Quarantined(name, f"{width}x{height} pixels: TensorFlow cannot decode it, not even as a PNG", identity)
    return record


def _is_plain(image: ImageFile) -> bool:
    """Whether the file can be stored unchanged, provided that TensorFlow decodes it."""
    return (
        image.format in ("JPEG", "PNG")
        and image.mode in ("L", "RGB")
        and "transparency" not in image.info
        and image.getexif().get(_ORIENTATION, 1) == 1
        and getattr(image, "n_frames", 1) == 1
    )


def _is_16_bit(image: ImageFile) -> bool:
    """Whether Pillow will read the upper bytes of 16 bits."""
    return image.format in ("PNG", "TIFF") and any(";16" in str(part.args) for part in image.tile)  # as RGB;16B


def _is_dark(pixels: np.ndarray) -> bool:
    return int(pixels.max(initial=0)) < _DARK


def _as_png(image: Image.Image, notes: list[str], is_deep: bool) -> tuple[bytes, int, int]:
    """Returns the image as the bytes of an upright RGB PNG, and its height and width; adds to the notes."""
    rgb = _rgb(ImageOps.exif_transpose(image), notes)
    if is_deep and not notes and _is_dark(np.asarray(rgb)):
        notes.append(_NEARLY_BLACK)
    buffer = io.BytesIO()
    rgb.save(buffer, "PNG", icc_profile=None)
    return buffer.getvalue(), rgb.height, rgb.width


def _rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Converts an image of any mode to 8-bit RGB, and transparent pixels to white.

    16-bit gray keeps its upper byte. Floats are gray in [0, 255], or in [0, 1] if no value is above 1.
    """
    if image.mode.startswith("I"):
        upper = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
        if _is_dark(upper):
            notes.append(_NEARLY_BLACK)
        return Image.fromarray(upper).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        if values.min(initial=0) < 0 or values.max(initial=0) > 255:
            notes.append(_CLIPPED)
        scale = 255 if values.max(initial=0) <= 1 else 1
        return Image.fromarray(np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
