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
from PIL import Image, ImageOps
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
    image_class = next((known for magic, known in _FORMATS.items() if data.startswith(magic)), None)
    if image_class is None:
        return Quarantined(name, "is not a JPEG, PNG, GIF, WebP, BMP or TIFF")
    _silence_pillow()
    try:
        with image_class(io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width}x{image.height} = {image.width * image.height} pixels"
                return Quarantined(name, f"{size}, more than the limit of {max_pixels}")
            return _record(name, data, image, look)
    except Image.DecompressionBombError as error:
        return Quarantined(name, str(error))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return Quarantined(name, "needs more memory than is available")
    except Exception as error:  # Pillow's errors about damaged bytes have no common class
        return Quarantined(name, f"damaged {image_class.format}: {type(error).__name__}: {one_line(error)}")


def in_order(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Maps a function over items on several threads, a few items in advance; results keep the order of the items."""
    with ThreadPoolExecutor(_THREADS) as pool:
        iterator = iter(items)
        running = collections.deque(pool.submit(function, item) for item in itertools.islice(iterator, 2 * _THREADS))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(function, item) for item in itertools.islice(iterator, 1))


def _silence_pillow() -> None:
    """Turns off Pillow's warnings about unusual files; the manifest lists the files that were quarantined.

    `warnings.catch_warnings` does not do: threads would restore each other's filters in any order.
    """
    if _PILLOW_FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _record(name: str, data: bytes, image: ImageFile, look: Look) -> Record | Quarantined:
    identity = hashlib.sha256(data).hexdigest()[:16]
    if _is_plain(image):
        record = Record(data, str(image.format), image.height, image.width, identity, name=name)
        with contextlib.suppress(Undecodable):
            record.seen = look(record)
            return record
    encoded, height, width = _as_png(image)
    record = Record(encoded, "PNG", height, width, identity, reencoded=True, name=name)
    try:
        record.seen = look(record)
    except Undecodable:
        return Quarantined(name, f"{width}x{height} pixels: TensorFlow cannot decode it, not even as a PNG")
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


def _as_png(image: Image.Image) -> tuple[bytes, int, int]:
    """Returns the image as the bytes of an upright RGB PNG, and its height and width."""
    rgb = _rgb(ImageOps.exif_transpose(image))
    buffer = io.BytesIO()
    rgb.save(buffer, "PNG", icc_profile=None)
    return buffer.getvalue(), rgb.height, rgb.width


def _rgb(image: Image.Image) -> Image.Image:
    """Converts an image of any mode to 8-bit RGB: 16-bit gray keeps its upper byte, transparent pixels become white."""
    if image.mode.startswith("I"):
        upper = np.clip(np.asarray(image), 0, 65535) >> 8
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
