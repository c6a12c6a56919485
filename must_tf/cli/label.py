"""Runs teachers over images and writes records with their labels, shard by shard.

    must label --images=photos --teachers=depth=onnx:midas.onnx --out=data/photos

The same command continues a killed run. Images that cannot be read, or on which a model fails, are quarantined: the
manifest lists them with their reasons. (libjpeg and libtiff may print a line of their own about a damaged image.)
A long run labels a few images first, and prints a warning if their labels can hardly be meant.
With --images=data/photos, `--merge=coco:corrected.json` brings labels back that went out with `must convert` and that
people have corrected.

Before a long run:
  --describe  drafts the card of a model
  --preview   draws and counts the labels of a few images
  --plan      measures hours, sizes and memory
"""

import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import TeacherFlags
from must_tf.errors import UserError

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Folder (searched recursively), glob, list file (.txt), folder of records, each here or in a bucket, such as "
    "s3://bucket/photos; tfrecord:GLOB, tfds:NAME/SPLIT, hfdata:FOLDER/SPLIT (of Hugging Face, on disk); a film, such "
    "as drive.mp4[::30] (every 30th frame); labels of your own: coco:FILE.json, yolo:FOLDER/SPLIT (coco_masks: and "
    "yolo_masks: read the masks of objects, too), voc:FOLDER, csv:FILE.csv, labelstudio:FILE.json, masks:, depth:, "
    "normals:FOLDER/SPLIT, classes:FOLDER/SPLIT (one folder per class), multilabel:FOLDER/SPLIT (the same, and an "
    "image may lie in several of them); or a labeled dataset: voc:, ade20k:, diode:, coco:, objects365:, imagenet:, "
    "bdd100k:. A slice may follow, such as photos[:90%]; an image stays in its part when others are added. Several of "
    "these, separated by commas.",
    flag_values=FLAGS,
)
_ROOT = flags.DEFINE_string(
    "root",
    None,
    "Folder in which the images that labels name (coco:, yolo:, the same with _masks, voc:, csv:, labelstudio:) are "
    "looked for, at any depth; by default the places beside the labels where they usually are.",
    flag_values=FLAGS,
)
_TASKS = flags.DEFINE_list(
    "tasks",
    [],
    "NAME=TASK, separated by commas: the name that a task of the labels of --images gets, such as that of a teacher; "
    "NAME alone where they are of one task. Their classes are matched by name with those of a teacher of that task.",
    flag_values=FLAGS,
)
_MERGE = flags.DEFINE_list(
    "merge",
    [],
    "Corrected labels, such as coco:corrected.json, labelstudio:export.json or masks:FOLDER, or records with labels by "
    "people, with --images=RECORDS: they become human, and win over the labels that these images have of the task. "
    "Images are found by id or, without one, by content or name; those that are not listed keep what they have. "
    "--tasks names the task, --root the folder of the images.",
    flag_values=FLAGS,
)
_EXCEPT = flags.DEFINE_list(
    "except",
    [],
    "Folders of records, separated by commas, whose images are left out, such as those that were labeled before.",
    flag_values=FLAGS,
)
_TEACHERS = TeacherFlags(FLAGS, "Without teachers, a labeled dataset becomes records as it is.")
_OUT = flags.DEFINE_string("out", None, "Folder for the dataset, here or in a bucket.", flag_values=FLAGS)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images per call of a teacher.", 1, flag_values=FLAGS)
_SHARD = flags.DEFINE_integer("images_per_shard", 1000, "Approximate number of records per file.", 1, flag_values=FLAGS)
_MAX_BAD = flags.DEFINE_float(
    "max_bad", 0.05, "Largest share of images that may be quarantined; more stop the run.", 0, 1, flag_values=FLAGS
)
_ALLOW_EMPTY = flags.DEFINE_bool(
    "allow_empty",
    False,
    "Accept a teacher that gives no label, or finds nothing in more than 98 of 100 images; by default an error.",
    flag_values=FLAGS,
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    None,
    "An image with more pixels is quarantined, not decoded; by default 179 million.",
    1,
    flag_values=FLAGS,
)
_LICENSE = flags.DEFINE_string(
    "license",
    "",
    "License of the images, for the manifest and for the model cards of what is trained on them; by default that of "
    "the records, if these are the images.",
    flag_values=FLAGS,
)
_FILENAMES = flags.DEFINE_bool(
    "filenames",
    True,
    "Keep the name of the file that an image came from in its record, relative to the folder of images, so that labels "
    "can go back to it; --nofilenames leaves private names out.",
    flag_values=FLAGS,
)
_RUNNER = flags.DEFINE_enum(
    "runner",
    "local",
    ["local", "beam", "ray"],
    "Where shards are labeled: in processes of this machine, with Apache Beam, or on a Ray cluster.",
    flag_values=FLAGS,
)
_PROCESSES = flags.DEFINE_integer(
    "processes",
    0,
    "Number of processes of the local runner, or of workers on Ray. 0 means one per GPU; without a GPU, one process or "
    "on Ray one per node.",
    0,
    flag_values=FLAGS,
)
_BEAM = flags.DEFINE_multi_string(
    "beam_options",
    [],
    "Options of Beam's pipeline, separated as in a shell, such as '--runner=FlinkRunner ...'; values that contain "
    "spaces or quotes stand in quotes.",
    flag_values=FLAGS,
)
_RAY = flags.DEFINE_string(
    "ray_address",
    "",
    "HOST:PORT of the head of a Ray cluster that this machine is part of; by default the one that RAY_ADDRESS names, "
    "or that runs here.",
    flag_values=FLAGS,
)
_PLAN = flags.DEFINE_bool(
    "plan", False, "Only measure a few batches, and print hours, GB and memory.", flag_values=FLAGS
)
_PLAN_COUNT = flags.DEFINE_integer(
    "plan_count",
    None,
    "For --plan: number of images in all, if --images is a sample of them; by default those of --images.",
    1,
    flag_values=FLAGS,
)
_PRICES = flags.DEFINE_string(
    "prices",
    None,
    "For --plan: FILE.yaml with prices, of which the docs have an example; prints what the run costs in a bucket.",
    flag_values=FLAGS,
)
_PREVIEW = flags.DEFINE_integer(
    "preview", 0, "Only draw and count the labels of this many images, into OUT.html.", 0, flag_values=FLAGS
)
_DESCRIBE = flags.DEFINE_string(
    "describe",
    None,
    "FORMAT:PATH: only print a model's inputs and outputs, and a draft of its card; of hf:, what applies without one.",
    flag_values=FLAGS,
)

_FITTED = 64  # images that a dry run fits on


def run(argv: list[str]) -> None:
    """Runs `must label`."""
    rest, fields = app.split_fields(argv, "--cards.")
    urls = ["images", "teachers", "except", "out", "describe", "beam_options", "ray_address", "license"]
    app.run("must label", __doc__, FLAGS, lambda: main(fields), rest, urls)


def main(fields: dict[str, str]) -> None:
    """Labels, or makes one of the dry runs."""
    if _DESCRIBE.value:
        from must_tf.teachers import TeacherSpec, describe_model

        print(describe_model(TeacherSpec.of_model(_DESCRIBE.value, allow_ops=_TEACHERS.allow_ops)))
        return
    for flag in (_IMAGES, *([] if _PLAN.value else [_OUT])):
        if not flag.value:
            raise UserError(f"--{flag.name}: not given; expected: {FLAGS[flag.name].help}")
    if _PLAN.value and _PREVIEW.value:
        raise UserError("--plan, --preview: both received; expected one at a time")
    for flag in (_PLAN_COUNT, _PRICES):
        if flag.value and not _PLAN.value:
            raise UserError(f"--{flag.name}: received without --plan; give both, or neither")
    load = _TEACHERS.loader(fields)
    if _PLAN.value or _PREVIEW.value:
        _dry_run(load)
    else:
        _label(load)


def parse_tasks(texts: Iterable[str]) -> dict[str, str]:
    """Parses `NAME=TASK` or `NAME` into {NAME: TASK, or empty for the only one}."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, task = text.partition("=")
        if not name or bool(equals) != bool(task) or name in found:
            raise UserError(f"--tasks: {text!r} received, expected NAME=TASK, or NAME alone, each name once")
        found[name] = task
    return found


def _label(load) -> None:
    from must_tf.sources import MAX_PIXELS
    from must_tf.verbs.labeling import label, summary

    dataset = label(
        _IMAGES.value,
        load or (),
        _OUT.value,
        root=_ROOT.value,
        tasks=parse_tasks(_TASKS.value),
        merge=_MERGE.value,
        without=_EXCEPT.value,
        batch_size=_BATCH.value,
        images_per_shard=_SHARD.value,
        max_bad=_MAX_BAD.value,
        allow_empty=_ALLOW_EMPTY.value,
        max_pixels=_MAX_PIXELS.value or MAX_PIXELS,
        license=_LICENSE.value,
        filenames=_FILENAMES.value,
        runner=_RUNNER.value,
        **_runner_options(),
    )
    print(summary(dataset))


def _runner_options() -> dict[str, Any]:
    return {"processes": _PROCESSES.value, "beam_options": _BEAM.value, "ray_address": _RAY.value}


def _dry_run(load) -> None:
    """Opens the images and loads the teachers, and then plans or previews."""
    from must_tf.labeling import SAMPLE, fit_teachers, lacking, require_labels, united_tasks
    from must_tf.labeling.runners import make_runner
    from must_tf.pricing import LABEL, priced
    from must_tf.sources import MAX_PIXELS, open_source, renamed
    from must_tf.storage import location

    runner = make_runner(_RUNNER.value, **_runner_options())
    prices = priced(_PRICES.value, LABEL) if _PRICES.value else None
    page = f"{location(_OUT.value)}.html" if _PREVIEW.value else ""
    require_labels(_IMAGES.value, bool(load or _MERGE.value))
    source = open_source(
        _IMAGES.value,
        _SHARD.value,
        _MAX_PIXELS.value or MAX_PIXELS,
        root=_ROOT.value,
        tasks=parse_tasks(_TASKS.value),
        merge=_MERGE.value,
        without=_EXCEPT.value,
    )
    unfitted = load() if load else []
    with tempfile.TemporaryDirectory() as folder:
        teachers = fit_teachers(unfitted, source, folder, _BATCH.value, _FITTED)
    for teacher in lacking(unfitted):
        print(f"{teacher.task.name}: fitted on so few images for this look alone; the run fits on up to {SAMPLE}")
    source = renamed(source, _IMAGES.value, {}, [teacher.task for teacher in teachers])
    tasks = united_tasks(_IMAGES.value, source, teachers)
    if _PREVIEW.value:
        _preview(source, teachers, tasks, page)
    else:
        _plan(source, teachers, tasks, len(lacking(unfitted)) * min(SAMPLE, source.count), prices)
        if runner:
            print(runner.needs())


def _plan(source: Any, teachers: Sequence[Any], tasks: Sequence[Any], fitted: int, prices: Any) -> None:
    """Prints what labeling takes."""
    from must_tf.labeling import estimate
    from must_tf.pricing import bill

    for line in source.warnings:
        print(f"warning: {line}")
    found = estimate(source, teachers, tasks, _BATCH.value, fitted=fitted)
    found = found.of(_PLAN_COUNT.value, _SHARD.value) if _PLAN_COUNT.value else found
    print(found)
    if prices:
        print(f"with images and records in a bucket, by {_PRICES.value}:\n{bill(found.usage(), prices)}")


def _preview(source: Any, teachers: Sequence[Any], tasks: Sequence[Any], page: str) -> None:
    """Draws the labels of a few images into a page, and prints what is to know of them."""
    from must_tf.labeling import preview, review
    from must_tf.records import Quarantined, Record, noted
    from must_tf.report import preview_lines, preview_page
    from must_tf.verbs.labeling import quarantined

    entries = preview(source, teachers, _PREVIEW.value)
    records = [entry for entry in entries if isinstance(entry, Record)]
    bad = [(entry.name, entry.reason) for entry in entries if isinstance(entry, Quarantined)]
    if not records:
        why = f"; {bad[0][0]}: {bad[0][1]}" if bad else ""
        raise UserError(f"{_IMAGES.value}: none of {len(entries)} images could be labeled{why}")
    preview_page(records, tasks, page)
    print(f"{page}: labels of {len(records)} images")
    notes = noted(dict.fromkeys(record.notes, 1) for record in records)
    for line in (*preview_lines(records, tasks), *quarantined(bad)):
        print(line)
    for line in (*source.warnings, *notes, *review(records, teachers)):
        print(f"  warning: {line}")
