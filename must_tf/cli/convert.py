"""Writes records as files that other tools read: labels, and the images beside them.

    must convert data/photos --to=coco --out=exports/coco

The folder has its files when all of them are written; the same command starts a killed run again. Images without a
label are left out and counted, as is what the format has no place for. `--count=200 --order=uncertain` takes the images
whose labels people should look at first.
`DIR[:90%]` takes a slice; the rest is `DIR[90%:]`. `--to=records` joins datasets (DIR,DIR), selects labels and renames
tasks.
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Folder of records, or a slice of it, DIR[:90%]; `must convert DIR` means the same. For --to=records, several.",
    flag_values=FLAGS,
)
_TO = flags.DEFINE_string(
    "to",
    None,
    "Format: coco (boxes; masks of objects; masks as COCO panoptic), yolo (boxes; masks as polygons), voc (boxes and "
    "masks), masks (PNGs of class ids), depth (PNGs in millimeters, or npy), normals (PNG and npy), csv (classes), "
    "folders (one folder per class), labelstudio (boxes, masks as polygons, classes), imagefolder (of Hugging Face: "
    "boxes, classes), records (all labels; joins several folders).",
    flag_values=FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder for the files; new or empty.", flag_values=FLAGS)
_IMAGES = flags.DEFINE_enum(
    "images",
    "copy",
    ["copy", "link", "none"],
    "Image files: copy writes the images that the records hold, link makes symbolic links to the files that they came "
    "from, none leaves them where they are; labels fit the upright image. Files keep their names where they can.",
    flag_values=FLAGS,
)
_ROOT = flags.DEFINE_string(
    "root",
    None,
    "With --images=link: the folder that the names of files are relative to; by default the folder of images that was "
    "labeled.",
    flag_values=FLAGS,
)
_TASKS = flags.DEFINE_list("tasks", [], "Tasks to write; by default all that the format takes.", flag_values=FLAGS)
_CLASSES = flags.DEFINE_list(
    "classes",
    [],
    "Classes to write; by default all. Boxes of other classes are left out, pixels of other classes are ignored, and "
    "images whose one class is another one are left out; probabilities of the others sum to 1 over these classes.",
    flag_values=FLAGS,
)
_RENAME = flags.DEFINE_list(
    "rename",
    [],
    "NEW=TASK for a task, TASK.NEW=CLASS for a class of it, separated by commas: new names for what is written.",
    flag_values=FLAGS,
)
_MIN_SCORE = flags.DEFINE_float(
    "min_score", 0.0, "Least score of boxes and classes; those below are left out.", 0, 1, flag_values=FLAGS
)
_ORIGIN = flags.DEFINE_list(
    "origin", [], "Origins of labels to write, human or ids of teachers; by default all.", flag_values=FLAGS
)
_COUNT = flags.DEFINE_integer("count", 0, "Number of images to write; 0 means all.", 0, flag_values=FLAGS)
_ORDER = flags.DEFINE_enum(
    "order",
    "random",
    ["random", "uncertain", "disagreement"],
    "Which images --count takes: random ones, those of which a label has the lowest score, or those whose labels "
    "differ most from those of --against.",
    flag_values=FLAGS,
)
_AGAINST = flags.DEFINE_string(
    "against",
    "",
    "With --order=disagreement: records of the same images with other labels, such as those that the same teacher made "
    "with --tta=flip.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the random choice.", flag_values=FLAGS)
flags.mark_flags_as_required(["data", "to", "out"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must convert`."""
    urls = ["data", "against", "out"]
    app.run("must convert", __doc__, FLAGS, main, app.with_place(argv), urls)


def main() -> None:
    """Converts, and prints what was written and what was left out."""
    from must_tf.verbs import convert

    converted = convert(
        _DATA.value,
        _TO.value,
        _OUT.value,
        _IMAGES.value,
        _ROOT.value,
        tasks=_TASKS.value,
        classes=_CLASSES.value,
        min_score=_MIN_SCORE.value,
        origin=_ORIGIN.value,
        count=_COUNT.value,
        order=_ORDER.value,
        seed=_SEED.value,
        rename=_RENAME.value,
        against=_AGAINST.value,
    )
    print(f"{_OUT.value}: {converted.count} images as {_TO.value}")
    for task, count in converted.labels.items():
        print(f"  {task}: {count} labeled")
    for line in converted.lines:
        print(f"  {line}")
