"""Runs teachers over images and writes records with their labels, shard by shard.

A killed run is taken up by the same command. Images that cannot be read are quarantined, and listed with their
reasons in the manifest; libjpeg and libtiff may say a line of their own of a damaged image. Before a long run:
`--describe` drafts the card of a model, `--preview` shows labels, `--plan` measures hours and sizes.
"""

import functools

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import define_allow_ops, teachers_of
from must_tf.errors import UserError

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Folder (recursive), glob, list file (.txt), folder of records, tfrecord:GLOB, tfds:NAME/SPLIT, or a labeled "
    "dataset: voc:, ade20k:, diode:, coco:, objects365:, imagenet:, classes:FOLDER/SPLIT (a folder a class), or a "
    "slice of it, as ade20k:FOLDER/training[:90%].",
    flag_values=FLAGS,
)
_TEACHERS = flags.DEFINE_list(
    "teachers",
    None,
    "TASK=FORMAT:PATH, with commas between; none turns a labeled dataset into records.",
    flag_values=FLAGS,
)
_CARDS = flags.DEFINE_list(
    "cards",
    [],
    "TASK=FILE, with commas between; by default PATH.card.yaml beside the model. --cards.TASK.FIELD=VALUE gives one "
    "field, in YAML, in place of the file's; such fields may be all of a card.",
    flag_values=FLAGS,
)
_THRESHOLDS = flags.DEFINE_list(
    "thresholds",
    [],
    "TASK.min_score=VALUE, with commas between: the score that makes a label, in place of the card's or the student's "
    "own; TASK.doubtful_score: boxes between the two are ignored in training. `must evaluate` says which is best.",
    flag_values=FLAGS,
)
_ALLOW_OPS = define_allow_ops(FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the dataset.", flag_values=FLAGS)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images that a teacher sees at once.", 1, flag_values=FLAGS)
_SHARD = flags.DEFINE_integer("images_per_shard", 1000, "About how many records a file holds.", 1, flag_values=FLAGS)
_MAX_BAD = flags.DEFINE_float("max_bad", 0.05, "Share of images that may be quarantined.", 0, 1, flag_values=FLAGS)
_ALLOW_EMPTY = flags.DEFINE_bool(
    "allow_empty",
    False,
    "Take it where a teacher gives no label, or finds nothing in any image; else that is an error.",
    flag_values=FLAGS,
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", None, "An image with more is quarantined, not decoded; 179 million by default.", 1, flag_values=FLAGS
)
_LICENSE = flags.DEFINE_string(
    "license",
    "",
    "Of the images, for the manifest and for the card of what learns from it; of records, theirs by default.",
    flag_values=FLAGS,
)
_RUNNER = flags.DEFINE_enum("runner", "local", ["local", "beam"], "Where shards are labeled.", flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer(
    "processes", 0, "Of the local runner; 0 is one a GPU, and one without a GPU.", 0, flag_values=FLAGS
)
_BEAM = flags.DEFINE_multi_string(
    "beam_options", [], "Of Beam's pipeline, with spaces between: '--runner=FlinkRunner ...'.", flag_values=FLAGS
)
_PLAN = flags.DEFINE_bool(
    "plan", False, "Measure a few batches, print hours, GB and memory; no more.", flag_values=FLAGS
)
_PREVIEW = flags.DEFINE_integer(
    "preview", 0, "Draw labels of so many images into OUT.html; no more.", 0, flag_values=FLAGS
)
_DESCRIBE = flags.DEFINE_string(
    "describe", None, "FORMAT:PATH: print a model's inputs and outputs and draft its card; no more.", flag_values=FLAGS
)


def run(argv: list[str]) -> None:
    """Runs `must label`."""
    rest, fields = app.split_fields(argv, "--cards.")
    app.run("must label", __doc__, FLAGS, lambda: main(fields), rest)


def main(fields: dict[str, str]) -> None:
    """Labels, or looks ahead."""
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
        raise UserError("--beam_options: received without --runner=beam, and nothing else takes them")
    if _PROCESSES.value and _RUNNER.value == "beam":
        raise UserError("--processes: is of --runner=local; to Beam, say how many in --beam_options")
    if _PLAN.value or _PREVIEW.value:
        _look_ahead(_teachers(fields))
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
    if manifest.quarantined:
        print(f"  quarantined: {len(manifest.quarantined)}")
        for entry in manifest.quarantined[:10]:
            print(f"    {entry['name']}: {entry['reason']}")


def _look_ahead(load) -> None:
    from must_tf.labeling import estimate, local_path, preview, require_labels, united_tasks
    from must_tf.report import preview_page
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
            print("each worker of Beam takes as much memory; the time is at best this, divided by their number")
        elif processes > 1:
            print(f"{processes} processes take {processes} times the memory, and at best 1/{processes} of the time")
        return
    records = preview(source, teachers, _PREVIEW.value)
    if not records:
        raise UserError(f"{_IMAGES.value}: none of {_PREVIEW.value} images could be labeled; `must label` says why")
    preview_page(records, tasks, page)
    print(f"{page}: labels of {len(records)} images")


def _teachers(texts_of_fields: dict[str, str]):
    """Returns what loads the teachers, once the flags have been found good; nothing where there are no teachers."""
    load = teachers_of(_TEACHERS.value or [], _CARDS.value, _THRESHOLDS.value, texts_of_fields, _ALLOW_OPS.value)
    return load if _TEACHERS.value else ()


def _runner():
    """Returns the runner that the flags ask for; None is this process."""
    from must_tf.labeling import runners

    if _RUNNER.value == "beam":
        options = [option for text in _BEAM.value for option in text.split()]
        runners.make_pipeline(options)  # what is wrong with it is told before anything is loaded
        return functools.partial(runners.with_beam, options=options)
    processes, gpus = _processes()
    return functools.partial(runners.in_processes, processes=processes, num_gpus=gpus) if processes > 1 else None


def _processes() -> tuple[int, int]:
    """Returns how many processes the local runner is to have, and how many GPUs they share."""
    from must_tf.labeling import runners

    gpus = runners.share_gpus()
    return _PROCESSES.value or max(gpus, 1), gpus
