"""Runs teachers over images and writes records with their labels, shard by shard.

    must label --images=photos --teachers=depth=onnx:midas.onnx --out=data/photos

The same command continues a killed run. Images that cannot be read, or on which a model fails, are quarantined: the
manifest lists them with their reasons. (libjpeg and libtiff may print a line of their own about a damaged image.)
A long run labels a few images first, and prints a warning if their labels can hardly be meant.

Before a long run:
  --describe  drafts the card of a model
  --preview   draws and counts the labels of a few images
  --plan      measures hours, sizes and memory
"""

import functools
from collections.abc import Sequence

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import define_allow_ops, teachers_of
from must_tf.errors import UserError

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Folder (searched recursively), glob, list file (.txt), folder of records, tfrecord:GLOB, tfds:NAME/SPLIT, or a "
    "labeled dataset: voc:, ade20k:, diode:, coco:, objects365:, imagenet:, classes:FOLDER/SPLIT (one folder per "
    "class), multilabel:FOLDER/SPLIT (the same, and an image may lie in several of them). Of a labeled dataset a slice "
    "may be given, such as ade20k:FOLDER/training[:90%].",
    flag_values=FLAGS,
)
_TEACHERS = flags.DEFINE_list(
    "teachers",
    None,
    "TASK=FORMAT:PATH, separated by commas, such as boxes=hf:NAME_OR_FOLDER, a Hugging Face model. derive:TASK "
    "computes from another teacher's labels, as normals=derive:depth does. Without teachers, a labeled dataset becomes "
    "records as it is.",
    flag_values=FLAGS,
)
_CARDS = flags.DEFINE_list(
    "cards",
    [],
    "TASK=FILE, separated by commas; by default the card is PATH.card.yaml beside the model. Models of hf: need none. "
    "--cards.TASK.FIELD=VALUE sets one field, in YAML, and overrides the file; such flags can replace the whole file.",
    flag_values=FLAGS,
)
_THRESHOLDS = flags.DEFINE_list(
    "thresholds",
    [],
    "TASK.min_score=VALUE, separated by commas: lowest score that makes a label; by default that of the card or of "
    "the student. Boxes with scores from TASK.doubtful_score to TASK.min_score are ignored in training. For boxes of a "
    "student, TASK.min_score=best is the one with the best F1 in WORKDIR/evaluation.json, by `must evaluate`.",
    flag_values=FLAGS,
)
_ALLOW_OPS = define_allow_ops(FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the dataset.", flag_values=FLAGS)
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
_RUNNER = flags.DEFINE_enum(
    "runner", "local", ["local", "beam"], "Where shards are labeled; beam is Apache Beam.", flag_values=FLAGS
)
_PROCESSES = flags.DEFINE_integer(
    "processes",
    0,
    "Number of processes of the local runner; 0 means one per GPU, or one without a GPU.",
    0,
    flag_values=FLAGS,
)
_BEAM = flags.DEFINE_multi_string(
    "beam_options",
    [],
    "Options of Beam's pipeline, separated by spaces, such as '--runner=FlinkRunner ...'",
    flag_values=FLAGS,
)
_PLAN = flags.DEFINE_bool(
    "plan", False, "Only measure a few batches, and print hours, GB and memory.", flag_values=FLAGS
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


def run(argv: list[str]) -> None:
    """Runs `must label`."""
    rest, fields = app.split_fields(argv, "--cards.")
    app.run("must label", __doc__, FLAGS, lambda: main(fields), rest)


def main(fields: dict[str, str]) -> None:
    """Labels, or makes one of the dry runs."""
    if _DESCRIBE.value:
        from must_tf.teachers import TeacherSpec, describe_model

        print(describe_model(TeacherSpec.of_model(_DESCRIBE.value, allow_ops=tuple(_ALLOW_OPS.value))))
        return
    for flag in (_IMAGES, *([] if _PLAN.value else [_OUT])):
        if not flag.value:
            raise UserError(f"--{flag.name}: not given; expected: {FLAGS[flag.name].help}")
    if _PLAN.value and _PREVIEW.value:
        raise UserError("--plan, --preview: both received; expected one at a time")
    if _BEAM.value and _RUNNER.value != "beam":
        raise UserError("--beam_options: received without --runner=beam; give both, or neither")
    if _PROCESSES.value and _RUNNER.value == "beam":
        raise UserError("--processes: received with --runner=beam; set the number of workers in --beam_options")
    if _PLAN.value or _PREVIEW.value:
        _dry_run(_teachers(fields))
    else:
        _label(_teachers(fields))


def _label(load) -> None:
    from must_tf.labeling import label
    from must_tf.sources import MAX_PIXELS

    manifest = label(
        _IMAGES.value,
        load,
        _OUT.value,
        _BATCH.value,
        _SHARD.value,
        runner=_runner(),
        max_bad=_MAX_BAD.value,
        max_pixels=_MAX_PIXELS.value or MAX_PIXELS,
        license=_LICENSE.value,
        allow_empty=_ALLOW_EMPTY.value,
    )
    shards = len(manifest.shards)
    print(f"{_OUT.value}: {manifest.count} records in {shards} shard{'s' * (shards != 1)}")
    for task, origins in manifest.counts.items():
        empty = {origin: f" ({count} of them empty)" for origin, count in manifest.empty[task].items()}
        print(f"  {task}: " + ", ".join(f"{n} by {origin}{empty.get(origin, '')}" for origin, n in origins.items()))
    _print_quarantined([(entry["name"], entry["reason"]) for entry in manifest.quarantined])
    for line in manifest.warnings:
        print(f"  warning: {line}")


def _print_quarantined(entries: Sequence[tuple[str, str]]) -> None:
    """Prints how many images became no record, and the first of them with their reasons."""
    if entries:
        print(f"  quarantined: {len(entries)}")
    for name, reason in entries[:10]:
        print(f"    {name}: {reason}")


def _dry_run(load) -> None:
    from must_tf.labeling import estimate, local_path, preview, require_labels, review, united_tasks
    from must_tf.records import Quarantined, Record
    from must_tf.report import preview_lines, preview_page
    from must_tf.sources import MAX_PIXELS, open_source

    page = f"{local_path(_OUT.value)}.html" if _PREVIEW.value else ""
    processes, _ = _processes()  # before teachers take a GPU
    require_labels(_IMAGES.value, bool(load))
    source = open_source(_IMAGES.value, _SHARD.value, _MAX_PIXELS.value or MAX_PIXELS)
    teachers = load() if load else []
    tasks = united_tasks(_IMAGES.value, source, teachers)
    if _PLAN.value:
        print(estimate(source, teachers, tasks, _BATCH.value))
        if _RUNNER.value == "beam":
            print("each worker of Beam takes as much memory; the time is at best divided by their number")
        elif processes > 1:
            print(f"{processes} processes take {processes} times the memory, and at best 1/{processes} of the time")
        return
    entries = preview(source, teachers, _PREVIEW.value)
    records = [entry for entry in entries if isinstance(entry, Record)]
    bad = [(entry.name, entry.reason) for entry in entries if isinstance(entry, Quarantined)]
    if not records:
        why = f"; {bad[0][0]}: {bad[0][1]}" if bad else ""
        raise UserError(f"{_IMAGES.value}: none of {len(entries)} images could be labeled{why}")
    preview_page(records, tasks, page)
    print(f"{page}: labels of {len(records)} images")
    for line in preview_lines(records, tasks):
        print(line)
    _print_quarantined(bad)
    for line in review(records, teachers):
        print(f"  warning: {line}")


def _teachers(texts_of_fields: dict[str, str]):
    """Checks the flags of teachers, and returns the function that loads them; without teachers, an empty tuple."""
    load = teachers_of(_TEACHERS.value or [], _CARDS.value, _THRESHOLDS.value, texts_of_fields, _ALLOW_OPS.value)
    return load if _TEACHERS.value else ()


def _runner():
    """Returns the runner that the flags ask for; None means this process."""
    from must_tf.labeling import runners

    if _RUNNER.value == "beam":
        options = [option for text in _BEAM.value for option in text.split()]
        runners.make_pipeline(options)  # reports wrong options before anything is loaded
        return functools.partial(runners.with_beam, options=options)
    processes, gpus = _processes()
    return functools.partial(runners.in_processes, processes=processes, num_gpus=gpus) if processes > 1 else None


def _processes() -> tuple[int, int]:
    """Returns the number of processes of the local runner, and the number of GPUs that they share."""
    from must_tf.labeling import runners

    gpus = runners.share_gpus()
    return _PROCESSES.value or max(gpus, 1), gpus
