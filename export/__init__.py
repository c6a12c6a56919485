"""Exports finished students to other runtimes; a new process compares each file with the student."""

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tf_keras import backend

from must_tf import Verb
from must_tf.errors import UserError
from must_tf.export import card, child, endpoints, lineage
from must_tf.export.format import Card, Format
from must_tf.export.formats import FORMATS, File, check_formats, plan_files
from must_tf.export.images import Images
from must_tf.export.parity import Parity, measure, table
from must_tf.export.reference import Reference
from must_tf.export.verify import verify
from must_tf.geometry import Size
from must_tf.integrity import read_card
from must_tf.pipeline.batches import check_size
from must_tf.runtime.quiet import say
from must_tf.saving import load_student, write_architecture
from must_tf.storage import local

_IMAGES = 100  # that int8 is calibrated on

__all__ = ["FORMATS", "Format", "Parity", "export", "notes", "summary", "table", "verify"]


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
    litert_images: int = _IMAGES,
) -> list[Parity]:
    """Writes the finished student of a workdir in each format, and compares every file with it in its own runtime.

    Leaves one folder per format, `architecture.json`, `card.json` and `README.md`: all of them, or no folder. An export
    of the same weights that is there already is left as it is. Heads are left out of the files that their tasks declare
    (`Task.left_out`); `notes` says which.

    Args:
      workdir: of a finished `must train`.
      out: folder for the export.
      formats: which of `FORMATS`.
      sizes: heights and widths at which files are compared with the student; by default the training size, and one
        that differs and is not square.
      batches: numbers of images at which they are compared.
      normalize: whether files take images in [0, 255] and normalize them; else they take normalized images.
      allow_licenses: of data and teachers; by default any.
      litert_size: height and width of the files of LiteRT; by default the training size.
      litert_records: folder of records that int8 is calibrated on; by default those of the training.
      litert_images: how many of them.

    Returns:
      How far each output of each file is from the student.

    Raises:
      UserError: no finished student, an unknown format or one that is not installed, something else in `out`, a
        license that is not allowed, or a file that cannot be loaded or is further off than its bound.
      TypeError: a task has other outputs than it declares.
    """
    out = local(out, "out").absolute()
    check_formats(formats)
    for_litert = {"size": litert_size, "records": litert_records, "images": litert_images != _IMAGES}
    for name in for_litert if "litert" not in formats else ():
        if for_litert[name]:
            raise UserError(f"--litert_{name}: received without litert in --formats; give both, or neither")
    backend.reset_uids()  # names of layers, which stand in files, count the layers made before
    student = load_student(workdir)
    planned = plan_files(student, formats)
    facts = card.describe(student, workdir, normalize, planned)
    if allow_licenses is not None:
        lineage.require_allowed(workdir, facts["lineage"], allow_licenses)
    records, place = lineage.find_records(workdir)
    facts["images"] = f"the first records of {records}" if records else "made images: no records were found"
    if "litert" in formats:
        check_size(fixed := litert_size or facts["input_size"])
        facts["litert"] = {"size": list(fixed), "records": litert_records or records, "images": litert_images}
    for size in (sizes := sizes or _default_sizes(facts)):
        check_size(size)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return card.existing(out, facts, formats)
    with _whole(out) as folder:
        write_architecture(student.architecture, folder)
        written = [file for file in planned if not file.empty]
        for number, file in enumerate(written, 1):
            say(f"export: writes {file.path} ({number} of {len(written)})")
            file.format.write(student, file.part, folder / file.path, facts, Images(litert_records or place))
        parities = _compare(Reference(student, Images(place)), written, folder, facts, sizes, batches)
        card.write(folder, facts, {name: FORMATS[name].usage(facts) for name in formats}, parities)
    return parities


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yields a folder that becomes `out` when the block ends without an error, and goes otherwise."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def summary(out: str | os.PathLike) -> str:
    """Returns an export's table as text: each file's errors, bound and bytes."""
    found = verify(out)
    sizes = {name: entry["bytes"] for name, entry in found["files"].items()}
    return table([Parity(**entry) for entry in found["parity"]], sizes)


def notes(out: str | os.PathLike) -> list[str]:
    """Returns what an export lacks, in one line each: tasks left out of files, and data that were not found."""
    found = read_card(out)
    return card.left_out(found) + card.not_found(found)


def _compare(
    reference: Reference,
    written: Sequence[File],
    folder: Path,
    facts: Card,
    sizes: Sequence[Size],
    batches: Sequence[int],
) -> list[Parity]:
    """Compares what was written with the student; a new process loads and runs it."""
    checks = [
        (file, probe) for file in written for probe in itertools.product(batches, file.format.sizes(facts) or sizes)
    ]
    probes = list(dict.fromkeys(probe for _, probe in checks))
    say(f"export: compares each file with the student, on {len(probes)} batches of images, in a new process")
    images = [endpoints.as_input(reference.images(*probe), facts["normalization"]) for probe in probes]
    jobs = [child.Job(file.format.name, str(folder / file.path), probes.index(probe)) for file, probe in checks]
    rankings = endpoints.rankings(reference.student)
    measured = []
    for (file, probe), given in zip(checks, child.run(jobs, images), strict=True):
        names = [name for name in facts["outputs"][file.endpoint] if name.rpartition("/")[0] not in file.left_out]
        wanted = reference.outputs(file.endpoint, names, *probe)
        measured += measure(file.path, *probe, wanted, given, file.format.bound(file.part), rankings)
    return measured


def _default_sizes(facts: Card) -> list[Size]:
    height, width = facts["input_size"]
    return [(height, width), (height + 32, width if width != height + 32 else width + 32)]


sys.modules[__name__].__class__ = Verb
