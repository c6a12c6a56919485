"""Test helpers: five images with all kinds of labels, and with all that is no plain label."""

import numpy as np
import toy

from must_tf.tasks import Classification, Depth, Detection, Segmentation
from must_tf.tasks.detection import CROWD, DIFFICULT, UNSEEN

BOXES = Detection("boxes", ("cat", "dog", "bird"))
STUFF = Segmentation("stuff", ("background", "grass", "sky"))
SCENE = Classification("scene", ("indoor", "outdoor"))
TAGS = Classification("tags", ("red", "green", "blue"), multi_label=True)
INVERSE = Depth("inverse", "affine_inverse")
TASKS = (BOXES, STUFF, SCENE, TAGS, toy.DEPTH, toy.NORMALS, INVERSE)
SIZE = HEIGHT, WIDTH = (24, 40)
NAMES = ("a.png", "night/b.png", "night/c d.png", "", "e.png")


def boxes(rows):
    """Returns a label of boxes of (ymin, xmin, ymax, xmax, class, score, ignore), the sides in pixels."""
    rows = np.array(rows, np.float64).reshape(-1, 7)
    sides = (rows[:, :4] / (*SIZE, *SIZE)).astype(np.float32)
    return {"boxes": sides, "classes": rows[:, 4].astype(int), "scores": rows[:, 5], "ignore": rows[:, 6].astype(int)}


def mask(rng):
    """Returns a mask of blocks, with a hole and ignored pixels."""
    mask = np.kron(rng.integers(0, 3, (6, 10)), np.ones((4, 4), int))
    mask[:12, :12], mask[4:8, 4:8], mask[20:, 30:] = 1, 2, STUFF.ignore
    return mask


def records():
    """Returns images: with all labels, with nothing, with ignored boxes, without a label of boxes, without any."""
    rng = np.random.default_rng(3)
    made = [toy.record(toy.random_image(rng, *SIZE)) for _ in NAMES]
    found = [
        boxes([(1.5, 2.25, 10, 20, 0, 0.75, 0), (0, 0, *SIZE, 2, 0.25, 0)]),
        boxes([]),
        boxes([(1, 1, 9, 9, 1, 1, 0), (0, 0, 9, 9, 0, 0.4, DIFFICULT), (2, 2, 20, 30, 1, 1, CROWD),
               (0, 0, 24, 2, 0, 0, UNSEEN)]),
    ]  # fmt: skip
    for record, label, scene, tags in zip(made, found, (1, np.array([0.9, 0.1]), 0), ((0, 2), (), (1,)), strict=False):
        record.labels |= {"boxes": label, "scene": scene, "tags": np.isin(np.arange(3), tags)}
    for record in made[:4]:
        record.labels["stuff"] = mask(rng)
        meters = rng.uniform(0.3, 60, SIZE)
        record.labels[toy.DEPTH.name] = np.where(rng.random(SIZE) < 0.1, np.nan, meters)
        for task in (toy.NORMALS, INVERSE):
            record.labels[task.name] = toy.random_label(task, rng, *SIZE)
    for record, name in zip(made, NAMES, strict=True):
        record.filename = name
        record.origins = {task: "det-1" if task == "boxes" and name == "a.png" else "human" for task in record.labels}
    return made


def files(folder):
    """Returns the names of the files in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
