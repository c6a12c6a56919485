"""Renders the embedded dataset: rooms with exact labels of all tasks.

One labeled set a teacher, an unlabeled set, a set with the class of each image's main object (`shared`), and
training, validation and test sets of six downstream tasks, whose categories, textures and light no teacher saw. Fewer
images of a split are the first ones of more.
"""

import os

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "data/rooms", "Folder of the splits.", flag_values=FLAGS)
_SPLITS = flags.DEFINE_list(
    "splits",
    None,
    "Which splits, as shared/train,unlabeled/train,detection/train,downstream_depth/test; all by default.",
    flag_values=FLAGS,
)
_SIZE = flags.DEFINE_integer("size", 96, "Height and width in pixels.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the number of images.", 0.0, flag_values=FLAGS)
_COUNT = flags.DEFINE_integer("count", None, "Images a split, instead of --scale.", 1, flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "The same seed gives the same bytes.", 0, flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count(), "How many render at once.", 1, flag_values=FLAGS)


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
