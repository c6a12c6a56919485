"""Looks at a folder of images, writes a config that is ready to train, and prints the commands that come next.

    must init photos

It asks nothing, and changes nothing in the folder. Labels are found: folders of classes, COCO, YOLO, VOC, CSV,
BDD100K, masks and maps. The config is small enough for a CPU. Its notes say what to choose.
"""

from absl import flags

from must_tf.cli import app

PLACE = "images"  # the flag that an argument without a name is of
FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string("images", None, "Folder of images; `must init DIR` means the same.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Config to write; by default NAME.py, by the folder's name.", flag_values=FLAGS)
flags.mark_flag_as_required("images", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must init`."""
    app.run("must init", __doc__, FLAGS, main, app.with_place(argv, PLACE))


def main() -> None:
    """Looks, writes, prints."""
    from must_tf.verbs import init

    print(init(_IMAGES.value, _OUT.value or ""))
