"""Renders the embedded dataset: images of rooms with exact labels for all tasks.

Its splits are one labeled set per teacher, one with a mask of each object (`instances`), an unlabeled set, a set with
the class of each image's main object (`shared`), and training, validation and test sets of six downstream tasks. No
teacher saw the categories, textures and light of the downstream tasks. A smaller split holds the first images of a
larger one.

    must rooms --splits=depth/train,depth/test --out=data/rooms
"""

import os

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "data/rooms", "Folder for the splits.", flag_values=FLAGS)
_SPLITS = flags.DEFINE_list(
    "splits",
    None,
    "Splits, separated by commas, such as shared/train,unlabeled/train,downstream_depth/test; by default all.",
    flag_values=FLAGS,
)
_SIZE = flags.DEFINE_integer("size", 96, "Height and width of the images in pixels.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the number of images.", 0.0, flag_values=FLAGS)
_COUNT = flags.DEFINE_integer("count", None, "Number of images per split, instead of --scale.", 1, flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the rooms; the same seed gives the same bytes.", 0, flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer(
    "processes", os.cpu_count(), "Number of processes that render at once.", 1, flag_values=FLAGS
)


def run(argv: list[str]) -> None:
    """Runs `must rooms`."""
    app.run("must rooms", __doc__, FLAGS, main, argv)


def main() -> None:
    """Renders."""
    from must_tf.sources.rooms.dataset import SPLITS, make_rooms

    for split in _SPLITS.value or SPLITS:
        scaled = max(20, round(SPLITS[split].count * _SCALE.value)) if split in SPLITS else None
        count = _COUNT.value or scaled
        manifest = make_rooms(split, _OUT.value, _SIZE.value, count, _SEED.value, _PROCESSES.value)
        print(f"{_OUT.value}/{split}: {manifest.count} images")
