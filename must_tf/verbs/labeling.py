"""`must label` as a function: runs teachers over images, and returns the dataset of records."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from must_tf import labeling
from must_tf.errors import UserError
from must_tf.labeling.runners import make_runner
from must_tf.parsing import as_items, check_form, short
from must_tf.ranges import check_range
from must_tf.records import Dataset, open_dataset
from must_tf.sources import MAX_PIXELS
from must_tf.teachers import Teacher
from must_tf.verbs.teachers import Thresholds, teachers_of

Teachers = Mapping[str, str | Sequence[str]] | Sequence[Teacher] | Callable[[], Sequence[Teacher]]


def label(
    images: str | os.PathLike,
    teachers: Teachers = (),
    out: str | os.PathLike = "",
    *,
    cards: Mapping[str, str] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    classes: Mapping[str, Mapping[str, str | Sequence[str]]] | None = None,
    thresholds: Mapping[str, Thresholds | str] | None = None,
    tta: str | Sequence[str] | Mapping[str, str | Sequence[str]] = (),
    allow_ops: str | Sequence[str] = (),
    root: str | os.PathLike | None = None,
    tasks: Mapping[str, str] | None = None,
    merge: str | Sequence[str] = (),
    without: str | Sequence[str] = (),
    batch_size: int = 32,
    images_per_shard: int = 1000,
    max_bad: float = 0.05,
    allow_empty: bool = False,
    max_pixels: int = MAX_PIXELS,
    license: str = "",
    filenames: bool = True,
    runner: str = "local",
    processes: int = 0,
    beam_options: str | Sequence[str] = (),
    ray_address: str = "",
) -> Dataset:
    """Labels images and writes records; the same call continues one that was stopped.

        must_tf.label("photos", {"boxes": "hf:PekingU/rtdetr_r50vd"}, out="data/photos")

    Args:
      images: a folder, a glob, a list file, records, or labels of your own: all that `must label --images` takes.
      teachers: {task: `FORMAT:PATH`, or several, which become an ensemble}; or teachers that are loaded. Without
        teachers, the human labels of the images become records.
      out: folder for the dataset.
      cards: {task, or `TASK.N` for the Nth teacher of an ensemble: file of the teacher card}.
      fields: {task or `TASK.N`: {field of the card: value}}; they override the file.
      classes: {task: {label: class of the model, or several}}; the other classes are dropped.
      thresholds: {task: {threshold: value from 0 to 1, or one by class}}, or {task: `best:RECORDS`}.
      tta: test-time augmentation of all tasks, such as ["flip", "scales"], or {task: words}.
      allow_ops: operations that SavedModels and .pt2 files may use although they do more than compute.
      root: where the images that labels name are looked for, at any depth.
      tasks: {new name: task of the images' labels, or empty for the only one}.
      merge: corrected labels, such as `coco:corrected.json`, which win over those that the images have.
      without: folders of records whose images are left out; the command calls it `--except`.
      batch_size: images per call of a teacher.
      images_per_shard: largest number of records in a file.
      max_bad: largest share of images that may be quarantined.
      allow_empty: whether a teacher may find nothing in hardly any image.
      max_pixels: an image with more pixels is quarantined.
      license: of the images, for the manifest.
      filenames: whether records keep the names of the images' files.
      runner: `local`, `beam` for Apache Beam, or `ray` for a Ray cluster that this machine is part of.
      processes: of the local runner, or workers on Ray; more than one share the GPUs. 0 is one per GPU, or without GPUs
        one per node of the cluster.
      beam_options: of Beam's pipeline.
      ray_address: `HOST:PORT` of the cluster's head; by default the cluster that runs on this machine.

    Raises:
      UserError: a value is wrong, `out` holds other files, or too few images could be labeled; one line says what.
    """
    if not str(out):
        raise UserError("--out: not given; expected a folder for the dataset")
    for flag, value, interval in (
        ("--batch_size", batch_size, "[1, inf)"),
        ("--images_per_shard", images_per_shard, "[1, inf)"),
        ("--max_bad", max_bad, "[0, 1]"),
        ("--max_pixels", max_pixels, "[1, inf)"),
        ("--processes", processes, "[0, inf)"),
    ):
        check_range(flag, value, interval)
    if tasks is not None:
        check_form(tasks, "tasks", "{new name: task, or an empty text for the only one}", (str,))
    labeling.label(
        images,
        loading(teachers, cards, fields, classes, thresholds, tta, allow_ops),
        out,
        batch_size,
        images_per_shard,
        runner=make_runner(runner, processes=processes, beam_options=as_items(beam_options), ray_address=ray_address),
        max_bad=max_bad,
        max_pixels=max_pixels,
        license=license,
        allow_empty=allow_empty,
        filenames=filenames,
        root=root,
        tasks=tasks,
        merge=as_items(merge),
        without=as_items(without),
    )
    return open_dataset(out)


def loading(teachers: Teachers, *told: Any) -> Sequence[Teacher] | Callable[[], Sequence[Teacher]]:
    """Returns loaded teachers, or what loads them; `told` is what `teachers_of` takes besides, in its order."""
    if isinstance(teachers, Mapping):
        return teachers_of(teachers, *told) if teachers else ()
    if not callable(teachers) and any(isinstance(one, str) for one in teachers):
        raise UserError(f"teachers: {short(teachers)} received; expected {{task: 'FORMAT:PATH'}}")
    if any(told):
        raise UserError("teachers: loaded ones received with cards, classes or thresholds; give {task: 'FORMAT:PATH'}")
    return teachers


def summary(dataset: Dataset) -> str:
    """Returns what was labeled and left out, as plain text."""
    manifest = dataset.manifest
    shards = len(manifest.shards)
    lines = [f"{dataset.folder}: {manifest.count} records in {shards} shard{'s' * (shards != 1)}"]
    for task, origins in manifest.counts.items():
        empty = {origin: f" ({count} of them empty)" for origin, count in manifest.empty[task].items()}
        lines.append(f"  {task}: " + ", ".join(f"{n} by {one}{empty.get(one, '')}" for one, n in origins.items()))
    lines += [f"  left out: {count} {reason}" for reason, count in manifest.left_out.items()]
    lines += quarantined([(entry["name"], entry["reason"]) for entry in manifest.quarantined])
    return "\n".join([*lines, *(f"  warning: {line}" for line in manifest.warnings)])


def quarantined(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Returns how many images became no record, and the first of them with their reasons."""
    head = [f"  quarantined: {len(entries)}"] if entries else []
    return head + [f"    {name}: {reason}" for name, reason in entries[:10]]
