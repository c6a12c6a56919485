"""Weights on disk: a finished student and its architecture."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf import parsing
from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.storage import put_folder, read_json, write_json
from must_tf.student import Architecture, Student
from must_tf.tasks import from_json, to_json
from must_tf.trunk import Trunk

CONFIG = "config.json"  # of a workdir
STUDENT = "student"  # the folder of a workdir that holds the finished student
_FILE = "architecture.json"


def save_student(student: Student, workdir: str | os.PathLike) -> Path:
    """Writes a finished student to `WORKDIR/student`: its architecture and all its weights; whole or not at all."""
    folder = Path(workdir, STUDENT)
    temporary = folder.with_name(f".{STUDENT}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    write_architecture(student.architecture, temporary)
    tf.train.Checkpoint(**parts(student)).write(str(temporary / "weights"))
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
    prefix = Path(workdir, STUDENT, "weights")
    if not prefix.with_suffix(".index").exists():
        raise UserError(f"{workdir}: holds no finished student; run `must train --workdir={workdir}` to its end")
    tf.train.Checkpoint(**parts(student)).read(str(prefix)).assert_existing_objects_matched()


def parts(student: Student) -> dict[str, Any]:
    """Returns what a student's weights hang on; an export's SavedModel has the same names."""
    named = {"backbone": student.backbone, "decoder": student.decoder, "heads": student.heads}
    return {name: part for name, part in named.items() if part is not None}


def read_input_size(workdir: str | os.PathLike) -> Size:
    """Reads height and width of a run's views from its config."""
    path = Path(workdir, CONFIG)
    config = read_json(path)
    try:
        height, width = (int(side) for side in config["input_size"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: no input_size of two integers; name the workdir of a finished run") from None
    return height, width


def locate(folder: str | os.PathLike, near: str | os.PathLike, file: str | os.PathLike) -> Path | None:
    """Finds a folder that a config or a manifest names by a path relative to where a command ran.

    Parents of what the command wrote come first: so what is found does not depend on the current folder, and data and
    runs may be moved together.

    Args:
      folder: its name; nothing is found where it is empty.
      near: the workdir or dataset that names it.
      file: name of a file that must be in it.

    Returns:
      The first such folder relative to `near`, to one of its parents, or to the current folder; None where none is.
    """
    near = Path(near).absolute()
    places = [*(place / folder for place in (near, *near.parents)), Path(folder)] if str(folder) else []
    return next((place for place in places if (place / file).is_file()), None)


def write_architecture(architecture: Architecture, folder: str | os.PathLike) -> None:
    """Writes what it takes to build a student anew."""
    tasks = [to_json(task) for task in architecture.tasks]
    write_json(Path(folder, _FILE), {"trunk": dataclasses.asdict(architecture.trunk), "tasks": tasks})


def read_architecture(where: str | os.PathLike) -> Architecture:
    """Reads the architecture of an export or of a workdir's finished student."""
    if not Path(where).is_dir():
        raise UserError(f"{where}: no such folder; expected an export, or the workdir of a finished run")
    for folder in (Path(where, STUDENT), Path(where)):
        if (path := folder / _FILE).exists():
            value = parsing.read_json(path)
            if not isinstance(value, dict) or not isinstance(value.get("tasks"), list):
                raise UserError(f"{path}: damaged: it has no list of tasks; export again, or train to the end again")
            tasks = tuple(from_json(task, path) for task in value["tasks"])
            return Architecture(parsing.parse(Trunk, value.get("trunk"), path, "trunk"), tasks)
    raise UserError(f"{where}: neither an export nor a finished run (no {_FILE}); train or export first")
