"""Folders of images: what is found, and what of it can become a record."""

import glob
import hashlib
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from must_tf.errors import UserError
from must_tf.records.schema import Quarantined, Record

_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
_ORIENTATION = 0x0112  # the EXIF tag


def find_images(where: str | os.PathLike) -> list[str]:
    """Returns the images of a folder (recursive), of a glob, or of a list file (.txt, a path a line), sorted by path.

    Raises:
      UserError: nothing is there.
    """
    path = Path(where)
    if path.is_dir():
        found = [str(file) for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file()]
    elif path.suffix == ".txt" and path.is_file():
        found = [line for line in path.read_text().splitlines() if line]
    else:
        found = [name for name in glob.glob(str(where), recursive=True) if Path(name).is_file()]
    if not found:
        state = "holds no image" if path.is_dir() else "no such folder, glob or list"
        raise UserError(f"{where}: {state}; expected files of {', '.join(sorted(_SUFFIXES))}")
    return sorted(found)


def read_image(path: str | os.PathLike) -> Record | Quarantined:
    """Reads one file into a record without labels, or says why it cannot become one.

    JPEG and PNG in grey or RGB, 8 bits, upright, stay byte for byte as found. The rest is turned upright, made RGB (on
    white where it is transparent) and stored as PNG; of an animation, the first frame.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _record(str(path), data, image)
    except UnidentifiedImageError:
        return Quarantined(str(path), "not an image that can be read")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Quarantined(str(path), f"{type(error).__name__}: {error}")


def _record(name: str, data: bytes, image: Image.Image) -> Record:
    plain = image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB")
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    still = getattr(image, "n_frames", 1) == 1
    opaque = "transparency" not in image.info
    encoded, kind = data, image.format
    if not (plain and upright and still and opaque):
        image = _rgb(ImageOps.exif_transpose(image))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        encoded, kind = buffer.getvalue(), "PNG"
    identity = hashlib.sha256(data).hexdigest()[:16]
    return Record(encoded, str(kind), image.height, image.width, identity, reencoded=encoded is not data, name=name)


def _rgb(image: Image.Image) -> Image.Image:
    """Makes any mode 8-bit RGB; 16-bit grey keeps its upper byte, transparency lies on white."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def split_evenly(items: Sequence[str], num_shards: int) -> list[Sequence[str]]:
    """Cuts a sequence into `num_shards` runs whose lengths differ by one at most."""
    edges = [len(items) * i // num_shards for i in range(num_shards + 1)]
    return [items[low:high] for low, high in itertools.pairwise(edges)]
