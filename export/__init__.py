"""Finished students as files for other runtimes: SavedModel (with Keras 3) and ONNX."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.export import card, endpoints, onnx, savedmodel
from must_tf.export.parity import Parity, Runner, measure, table
from must_tf.files import read_json
from must_tf.pipeline.batches import check_size
from must_tf.student import Student
from must_tf.training.checkpoint import load_student, write_architecture
from must_tf.training.loop import CONFIG

__all__ = ["FORMATS", "Parity", "export", "table"]

FORMATS: dict[str, ModuleType] = {"savedmodel": savedmodel, "onnx": onnx}


def export(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    formats: Sequence[str] = ("savedmodel", "onnx"),
    sizes: Sequence[tuple[int, int]] | None = None,
    batches: Sequence[int] = (1, 3),
) -> list[Parity]:
    """Writes the finished student of a workdir in each format, and checks every file in its own runtime.

    Leaves `savedmodel/backbone`, `savedmodel/student`, `onnx/backbone.onnx`, `onnx/student.onnx`, `architecture.json`,
    `card.json` and `README.md` in the folder: all of them, or no folder. An export of the same weights that is there
    already is left as it is.

    Args:
      workdir: of a finished `must train`.
      out: folder for the export.
      formats: which of `FORMATS`.
      sizes: heights and widths at which files are compared with the student; the training size, and one that
        differs and is not square, where none are given.
      batches: numbers of images at which they are compared.

    Returns:
      How far each output of each file is from the student.

    Raises:
      UserError: no finished student, an unknown format or one that is not installed, something else in `out`, or a
        file further off than `parity.BOUND`.
    """
    out = Path(out).absolute()
    _check_formats(formats)
    student = load_student(workdir)
    sizes = sizes or _default_sizes(workdir)
    for size in sizes:
        check_size(size)
    facts = card.describe(student, workdir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return card.existing(out, facts, formats)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        write_architecture(student.architecture, temporary)
        parities = [
            parity
            for name in formats
            for part in endpoints.PARTS
            for parity in _write(student, FORMATS[name], part, temporary, facts, sizes, batches)
        ]
        card.write(temporary, facts, formats, parities)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return parities


def _write(
    student: Student,
    written_by: ModuleType,
    part: str,
    folder: Path,
    facts: card.Card,
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
) -> list[Parity]:
    """Writes one part in one format, and compares it."""
    path = written_by.path(part)
    written_by.write(student, part, folder / path, facts)
    return measure(path, _runner(student, part), written_by.load(folder / path), sizes, batches)


def _runner(student: Student, part: str) -> Runner:
    function = endpoints.outputs(student, part)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in function(tf.constant(images)).items()}

    return run


def _check_formats(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"format {name!r} is unknown; {nearest(name, FORMATS)}")
    if not formats:
        raise UserError(f"no format was given; known: {', '.join(sorted(FORMATS))}")
    if "onnx" in formats:
        onnx.require()


def _default_sizes(workdir: str | os.PathLike) -> list[tuple[int, int]]:
    height, width = read_json(Path(workdir, CONFIG))["input_size"]
    return [(height, width), (height + 32, width if width != height + 32 else width + 32)]
