"""Bytes that may be an image, made into a record that training can decode; or the reason why they cannot be."""

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
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from must_tf.errors import first_line
from must_tf.records import Quarantined, Record

T = TypeVar("T")
U = TypeVar("U")

Look = Callable[[Record], Any]  # makes `Record.seen`, by `decode`

MAX_PIXELS = 178_956_970  # half a gigabyte of RGB; what Pillow too takes for an attack
_THREADS = min(max(4, os.cpu_count() or 1), 16)  # not more, for each may hold an image of `MAX_PIXELS`
_ORIENTATION = 0x0112  # the EXIF tag
_OF_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings.filters` has it

# By their first bytes, whatever the file is called. Image.open would try more: formats that start other programs, and
# multi-picture JPEG, whose first picture is all that TensorFlow sees.
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


class Undecodable(Exception):
    """TensorFlow cannot decode an image; the reason."""


def decode(record: Record, ratio: int = 1) -> np.ndarray:
    """Returns the pixels as TensorFlow sees them, uint8 RGB [height / ratio, width / ratio, 3], rounded up.

    Args:
      record: its labels do not matter.
      ratio: 1, or for a JPEG 2, 4 or 8, which takes less time than all of its pixels.

    Raises:
      Undecodable: the image is damaged, or not of the record's size.
    """
    try:
        if ratio == 1:
            pixels = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
        else:
            pixels = tf.io.decode_jpeg(record.encoded, channels=3, ratio=ratio).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise Undecodable(first_line(error)) from error
    if pixels.shape != (-(-record.height // ratio), -(-record.width // ratio), 3):
        raise Undecodable(f"{list(pixels.shape)} at 1/{ratio} of {record.height}x{record.width} pixels")
    return pixels


def to_record(name: str, data: bytes, max_pixels: int = MAX_PIXELS, look: Look = decode) -> Record | Quarantined:
    """Makes an encoded image a record without labels, or says why it cannot become one.

    JPEG and PNG in gray or RGB, upright, stay byte for byte as found. The rest is turned upright, made 8-bit RGB (on
    white where it is transparent) and stored as PNG; of an animation, the first frame. TensorFlow has decoded what
    becomes a record, to its `height` and `width`. From the first call on, Pillow's warnings are silent in this process.

    Args:
      name: for the reader of a message.
      data: the file.
      max_pixels: an image of more, by its header, is not decoded. For GIF and TIFF, Pillow's own limit, which is the
        default, holds too.
      look: what is wanted of the image: by default its pixels. It must decode the image, and so prove that this works.
    """
    if not data:
        return Quarantined(name, "is empty")
    opened = next((kind for magic, kind in _FORMATS.items() if data.startswith(magic)), None)
    if opened is None:
        return Quarantined(name, "is no JPEG, PNG, GIF, WebP, BMP or TIFF")
    _silence_pillow()
    try:
        with opened(io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width}x{image.height} = {image.width * image.height} pixels"
                return Quarantined(name, f"{size}, more than the limit of {max_pixels}")
            return _record(name, data, image, look)
    except Image.DecompressionBombError as error:
        return Quarantined(name, str(error))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return Quarantined(name, "needs more memory than there was")
    except Exception as error:  # what Pillow raises on damaged bytes has no class in common
        said = " ".join(str(error).split()) or "no more is known"
        return Quarantined(name, f"damaged {opened.format}: {type(error).__name__}: {said}")


def in_order(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Maps on several threads, a few items ahead; results come in the order of the items."""
    with ThreadPoolExecutor(_THREADS) as pool:
        iterator = iter(items)
        running = collections.deque(pool.submit(function, item) for item in itertools.islice(iterator, 2 * _THREADS))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(function, item) for item in itertools.islice(iterator, 1))


def _silence_pillow() -> None:
    """Lets Pillow warn no more of odd files, whose fate the manifest tells.

    Not with `warnings.catch_warnings`, which would take and give back the filters of all threads in any order.
    """
    if _OF_PILLOW not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _record(name: str, data: bytes, image: ImageFile, look: Look) -> Record | Quarantined:
    identity = hashlib.sha256(data).hexdigest()[:16]
    if _plain(image):
        record = Record(data, str(image.format), image.height, image.width, identity, name=name)
        with contextlib.suppress(Undecodable):
            record.seen = look(record)
            return record
    encoded, height, width = _as_png(image)
    record = Record(encoded, "PNG", height, width, identity, reencoded=True, name=name)
    try:
        record.seen = look(record)
    except Undecodable:
        return Quarantined(name, f"{width}x{height} pixels: TensorFlow cannot decode it, as a PNG neither")
    return record


def _plain(image: ImageFile) -> bool:
    """Whether the file can stay as it is, if TensorFlow reads it."""
    return (
        image.format in ("JPEG", "PNG")
        and image.mode in ("L", "RGB")
        and "transparency" not in image.info
        and image.getexif().get(_ORIENTATION, 1) == 1
        and getattr(image, "n_frames", 1) == 1
    )


def _as_png(image: Image.Image) -> tuple[bytes, int, int]:
    """Returns the image as the bytes of an upright RGB PNG, and its height and width."""
    rgb = _rgb(ImageOps.exif_transpose(image))
    buffer = io.BytesIO()
    rgb.save(buffer, "PNG", icc_profile=None)
    return buffer.getvalue(), rgb.height, rgb.width


def _rgb(image: Image.Image) -> Image.Image:
    """Makes any mode 8-bit RGB; 16-bit gray keeps its upper byte, transparency lies on white."""
    if image.mode.startswith("I"):
        upper = np.clip(np.asarray(image), 0, 65535) >> 8
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
