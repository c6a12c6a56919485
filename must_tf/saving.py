"""Weights on disk: a finished student and its architecture."""

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.buckets import Remote
from must_tf.copies import fetched, named
from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.parsing import parse, read_object, short
from must_tf.storage import Location, location, put_folder, sha256, write_json
from must_tf.student import Architecture, Student
from must_tf.tasks import from_json, to_json
from must_tf.trunk import Trunk

CONFIG = "config.json"  # of a workdir
STUDENT = "student"  # the folder of a workdir that holds the finished student
WEIGHTS = Path(STUDENT, "weights.data-00000-of-00001")  # of a workdir; their SHA-256 identifies the student
_FILE = "architecture.json"
_DIGESTS = "sha256"  # its field with the SHA-256 of the files beside it
_RECORDS = "records"  # its field with what the student was trained on


def save_student(student: Student, workdir: str | os.PathLike, records: Mapping[str, str] | None = None) -> Path:
    """Writes a finished student to `WORKDIR/student`: all its weights and its architecture; whole or not at all.

    The SHA-256 of the files of the weights stand in the architecture.

    Args:
      student: to be written.
      workdir: gets the folder.
      records: `Manifest.digest` of what it was trained and validated on, by folder, where that is known.

    Returns:
      The folder.
    """
    folder = Path(workdir, STUDENT)
    temporary = folder.with_name(f".{STUDENT}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tf.train.Checkpoint(**parts(student)).write(str(temporary / "weights"))
    digests = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
    write_architecture(student.architecture, temporary, digests, records)
    put_folder(temporary, folder)
    return folder


def load_student(workdir: str | os.PathLike, policy: str = "float32") -> Student:
    """Loads the finished student of a workdir; not one weight may be missing."""
    architecture = read_architecture(workdir)
    student = Student(architecture.tasks, architecture.trunk, policy)
    read_student_weights(student, workdir)
    return student


def read_student_weights(student: Student, workdir: str | os.PathLike) -> None:
    """Loads the weights of a workdir's finished student into one of the same architecture."""
    prefix = fetched(workdir) / STUDENT / "weights"
    if not prefix.with_suffix(".index").exists():
        raise UserError(f"{workdir}: holds no finished student; run `must train --workdir={workdir}` to its end")
    check_student(workdir)
    tf.train.Checkpoint(**parts(student)).read(str(prefix)).assert_existing_objects_matched()
    student.workdir = str(workdir)


def check_student(workdir: str | os.PathLike) -> None:
    """Raises a `UserError` where the weights of a workdir's finished student are not those that were written.

    Version 0.1.0 wrote no SHA-256 of them: there is nothing to compare.
    """
    path = fetched(workdir) / STUDENT / _FILE
    check_digests(path.parent, _read_digests(path, _DIGESTS))


def read_records(workdir: str | os.PathLike) -> dict[str, str]:
    """Returns `Manifest.digest` of what a workdir's finished student was trained and validated on, by folder.

    It is empty where that is not known, as of students that version 0.1.0 wrote.
    """
    return _read_digests(fetched(workdir) / STUDENT / _FILE, _RECORDS)


def _read_digests(path: Path, field: str) -> dict[str, str]:
    value = read_object(path).get(field, {}) if path.exists() else {}
    return parse(dict[str, str], value, path, field)


def check_digests(folder: str | os.PathLike, digests: Mapping[str, str]) -> None:
    """Raises a `UserError` where files of a folder are missing, damaged or exchanged.

    Args:
      folder: holds the files.
      digests: {path of a file in the folder: its SHA-256}.
    """
    for name, digest in digests.items():
        path = Path(folder, name)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{folder}: SHA-256 of {short(name)} received; expected files of this folder")
        if not path.is_file():
            raise UserError(f"{path}: is missing; bring it back, or make its folder again")
        if sha256(path) != digest:
            raise UserError(
                f"{path}: was damaged or exchanged (its SHA-256 is not the one that was written with it); bring the "
                "file back, or make its folder again"
            )


def parts(student: Student) -> dict[str, Any]:
    """Returns what a student's weights hang on; an export's SavedModel has the same names."""
    named = {"backbone": student.backbone, "decoder": student.decoder, "heads": student.heads}
    return {name: part for name, part in named.items() if part is not None}


def read_input_size(workdir: str | os.PathLike) -> Size:
    """Reads height and width of a run's views from its config."""
    path = fetched(workdir) / CONFIG
    return parse(tuple[int, int], read_object(path).get("input_size"), path, "input_size")


def locate(folder: str | os.PathLike, near: str | os.PathLike, file: str | os.PathLike) -> Location | None:
    """Finds a folder that a config or a manifest names by a path relative to where a command ran.

    Parents of what the command wrote come first: so what is found does not depend on the current folder, and data and
    runs may be moved together.

    Args:
      folder: its name; nothing is found where it is empty.
      near: the workdir or dataset that names it.
      file: name of a file that must be in it.

    Returns:
      The first such folder relative to `near`, to one of its parents, or to the current folder, or that of a URL; None
      where none is.
    """
    place = location(folder)
    if isinstance(place, Remote):
        return place if (place / file).is_file() else None
    near = location(named(near))  # of a copy, what it is a copy of
    near = near.absolute() if isinstance(near, Path) else near
    places = [*(place / folder for place in (near, *near.parents)), Path(folder)] if str(folder) else []
    return next((place for place in places if (place / file).is_file()), None)


def write_architecture(
    architecture: Architecture,
    folder: str | os.PathLike,
    digests: Mapping[str, str] | None = None,
    records: Mapping[str, str] | None = None,
) -> None:
    """Writes what it takes to build a student anew.

    Args:
      architecture: of the student.
      folder: gets the file.
      digests: SHA-256 of the files of weights beside it, by their names.
      records: digests of what the weights were trained on, by folder.
    """
    tasks = [to_json(task) for task in architecture.tasks]
    more = {field: dict(found) for field, found in ((_DIGESTS, digests), (_RECORDS, records)) if found}
    write_json(Path(folder, _FILE), {"trunk": dataclasses.asdict(architecture.trunk), "tasks": tasks} | more)


def read_architecture(where: str | os.PathLike) -> Architecture:
    """Reads the architecture of an export or of a workdir's finished student."""
    where = fetched(where)
    if not where.is_dir():
        raise UserError(f"{where}: no such folder; expected an export, or the workdir of a finished run")
    for folder in (Path(where, STUDENT), Path(where)):
        path = folder / _FILE
        if path.exists():
            value = read_object(path)
            tasks = parse(tuple, value.get("tasks"), path, "tasks")
            return Architecture(
                parse(Trunk, value.get("trunk"), path, "trunk"), tuple(from_json(task, path) for task in tasks)
            )
    raise UserError(f"{where}: neither an export nor a finished run (no {_FILE}); train or export first")
