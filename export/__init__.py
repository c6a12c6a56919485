"""Finished students as files for other runtimes, each compared with the student in a process of its own."""

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from must_tf.errors import UserError, nearest
from must_tf.export import card, child, endpoints, keras, lineage, litert, model_garden, onnx, savedmodel, tf_keras
from must_tf.export.images import find_records
from must_tf.export.parity import Bound, Parity, measure, table
from must_tf.export.reference import Reference
from must_tf.export.verify import verify
from must_tf.pipeline.batches import check_size
from must_tf.saving import load_student, write_architecture
from must_tf.student import Student

__all__ = ["FORMATS", "Parity", "export", "summary", "table", "verify"]

# A format is a module with `PARTS`, `path(part)`, `write(student, part, where, facts)`, `load(where) -> Runner` and
# `SNIPPET`; it may have `require()` (are its packages there), `bound(part)` and `sizes(facts)` (that it can run).
FORMATS: dict[str, ModuleType] = {
    "savedmodel": savedmodel,
    "onnx": onnx,
    "keras": keras,
    "tf_keras": tf_keras,
    "garden": model_garden,
    "litert": litert,
}

Size = tuple[int, int]


def export(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    formats: Sequence[str] = ("savedmodel", "onnx"),
    sizes: Sequence[Size] | None = None,
    batches: Sequence[int] = (1, 3),
    *,
    normalize: bool = True,
    allow_licenses: Sequence[str] | None = None,
    litert_size: Size | None = None,
    litert_records: str = "",
    litert_images: int = 100,
) -> list[Parity]:
    """Writes the finished student of a workdir in each format, and checks every file in its own runtime.

    Leaves a folder a format, `architecture.json`, `card.json` and `README.md`: all of them, or no folder. An export of
    the same weights that is there already is left as it is.

    Args:
      workdir: of a finished `must train`.
      out: folder for the export.
      formats: which of `FORMATS`.
      sizes: heights and widths at which files are compared with the student; the training size, and one that
        differs and is not square, where none are given.
      batches: numbers of images at which they are compared.
      normalize: whether files take images in [0, 255] and normalize them; else they take normalized ones.
      allow_licenses: of data and teachers; any where none are given.
      litert_size: height and width of LiteRT's files; by default the training size.
      litert_records: folder of records that int8 is calibrated on; by default those of the training.
      litert_images: how many of them.

    Returns:
      How far each output of each file is from the student.

    Raises:
      UserError: no finished student, an unknown format or one that is not installed, something else in `out`, a
        license that is not allowed, or a file that cannot be loaded or is further off than its bound.
    """
    out = Path(out).absolute()
    _check_formats(formats)
    student = load_student(workdir)
    facts = card.describe(student, workdir, normalize)
    if allow_licenses is not None:
        lineage.require_allowed(workdir, facts["lineage"], allow_licenses)
    records = find_records([entry["folder"] for entry in facts["data"]])
    facts["images"] = f"the first records of {records}" if records else "made images: no records were at hand"
    if "litert" in formats:
        check_size(fixed := litert_size or facts["input_size"])
        facts["litert"] = {"size": list(fixed), "records": litert_records or records, "images": litert_images}
    for size in (sizes := sizes or _default_sizes(facts)):
        check_size(size)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return card.existing(out, facts, formats)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        write_architecture(student.architecture, temporary)
        written = [entry for name in formats for entry in _write(student, FORMATS[name], temporary, facts)]
        parities = _compare(Reference(student, records), written, temporary, facts, sizes, batches)
        card.write(temporary, facts, {name: FORMATS[name].SNIPPET for name in formats}, parities)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return parities


def summary(out: str | os.PathLike) -> str:
    """Returns an export's table as text: each file's errors, bound and bytes."""
    found = verify(out)
    sizes = {name: entry["bytes"] for name, entry in found["files"].items()}
    return table([Parity(**entry) for entry in found["parity"]], sizes)


def _write(student: Student, module: ModuleType, folder: Path, facts: card.Card) -> list[tuple[ModuleType, str]]:
    """Writes all parts of a format that a student has anything for; returns (format, part) of each."""
    parts = [part for part in module.PARTS if _endpoint(part) in facts["outputs"]]
    for part in parts:
        module.write(student, part, folder / module.path(part), facts)
    return [(module, part) for part in parts]


def _compare(
    reference: Reference,
    written: Sequence[tuple[ModuleType, str]],
    folder: Path,
    facts: card.Card,
    sizes: Sequence[Size],
    batches: Sequence[int],
) -> list[Parity]:
    """Compares what was written with the student; a new process loads and runs it."""
    checks = [
        (module, part, probe)
        for module, part in written
        for probe in itertools.product(batches, module.sizes(facts) if hasattr(module, "sizes") else sizes)
    ]
    probes = list(dict.fromkeys(probe for _, _, probe in checks))
    images = [endpoints.as_input(reference.images(*probe), facts["normalization"]) for probe in probes]
    jobs = [child.Job(m.__name__, str(folder / m.path(part)), probes.index(probe)) for m, part, probe in checks]
    measured = []
    for (module, part, probe), given in zip(checks, child.run(jobs, images), strict=True):
        bound = module.bound(part) if hasattr(module, "bound") else Bound()
        measured += measure(module.path(part), *probe, reference.outputs(_endpoint(part), *probe), given, bound)
    return measured


def _endpoint(part: str) -> str:
    """What a part computes stands before a dot: `heads.int8` computes `heads`."""
    return part.partition(".")[0]


def _check_formats(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"format {name!r} is unknown; {nearest(name, FORMATS)}")
        if hasattr(FORMATS[name], "require"):
            FORMATS[name].require()
    if not formats:
        raise UserError(f"no format was given; known: {', '.join(sorted(FORMATS))}")


def _default_sizes(facts: card.Card) -> list[Size]:
    height, width = facts["input_size"]
    return [(height, width), (height + 32, width if width != height + 32 else width + 32)]
