"""The model card of an export as data: facts for card.json and for the README."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import must_tf
from must_tf import storage
from must_tf.errors import UserError
from must_tf.export import endpoints, lineage, readme
from must_tf.export.format import Card
from must_tf.export.formats import File
from must_tf.export.parity import Parity
from must_tf.export.verify import verify
from must_tf.integrity import CARD, SCHEMA, describe_files, is_under
from must_tf.saving import WEIGHTS
from must_tf.student import Student
from must_tf.tasks import to_json
from must_tf.training.monitor import FILE as METRICS
from must_tf.training.monitor import read_metrics

README = "README.md"
_SAME = ("weights_sha256", "trunk", "tasks", "normalization", "litert")  # of two exports that may stand for each other


def describe(student: Student, workdir: str | os.PathLike, normalize: bool, files: Sequence[File]) -> Card:
    """Returns what can be said of an export before a file is written, as JSON values."""
    trunk = student.architecture.trunk
    card = {
        "schema": SCHEMA,
        "must_tf": must_tf.__version__,
        "name": Path(workdir).absolute().name,
        "weights_sha256": storage.sha256(Path(workdir, WEIGHTS)),
        "trunk": dataclasses.asdict(trunk),
        "levels": [] if student.decoder is None else list(trunk.levels),
        "tasks": [to_json(task) for task in student.tasks.values()],
        **endpoints.contract(normalize),
        "input_size": list(lineage.read_config(workdir).get("input_size", (224, 224))),
        "outputs": _outputs(student, files),
        "left_out": _left_out(files),
        "data": lineage.datasets(workdir),
        "teachers": lineage.teachers(workdir),
        "lineage": lineage.licenses(workdir),
        "metrics": _metrics(workdir),
    }
    return json.loads(json.dumps(card))  # tuples become lists, as they are in a card that was read


def left_out(card: Card) -> list[str]:
    """Returns a line on each task that is left out of files, and on each file that is not written: which, and why."""
    entries = card.get("left_out", [])  # 0.1.0 wrote none
    lines = [f"task {entry['task']} is left out of {', '.join(entry['files'])}: {entry['reason']}" for entry in entries]
    concerned = dict.fromkeys(file for entry in entries for file in entry["files"])
    absent = [file for file in concerned if not any(is_under(name, file) for name in card["files"])]
    return lines + [f"{file} is not written: no task is left for it" for file in absent]


def not_found(card: Card) -> list[str]:
    """Returns a line on each source of the weights that is not there as it was: what, and what the card says."""
    missing = [entry for entry in card["lineage"] if "missing" in entry]
    others = [entry for entry in card["data"] if entry.get("records") == lineage.OTHERS]  # 0.1.0 wrote none
    return [
        f"{entry['what']}: {entry['missing']}; the card has its license as {entry['license']!r}" for entry in missing
    ] + [
        f"data {entry['folder']}: holds other records than those that the student learned from; the card has its "
        "images, labels and license as they are now"
        for entry in others
    ]


def write(folder: Path, card: Card, snippets: Mapping[str, str], parities: Sequence[Parity]) -> None:
    """Writes card.json and README.md beside the files that lie in a folder.

    Args:
      folder: of the export.
      card: what `describe` returned.
      snippets: by format that is there, how to load it.
      parities: of its files.
    """
    card = card | {
        "formats": list(snippets),
        "files": describe_files(folder),
        "parity": [dataclasses.asdict(parity) for parity in parities],
    }
    storage.write_json(folder / CARD, card)
    text = readme.render(card, snippets, lineage.lines(card["lineage"]), left_out(card))
    storage.write_bytes(folder / README, text.encode())


def existing(out: Path, card: Card, formats: Sequence[str]) -> list[Parity]:
    """Returns the parities of a finished export of the same student, made alike; anything else is a `UserError`."""
    if not (out / CARD).is_file():
        raise UserError(f"{out}: exists, and is no export; choose another --out")
    found = verify(out)
    differing = [key for key in _SAME if key in card and found.get(key) != card[key]]
    if differing:
        said = f"of another student or made otherwise: {', '.join(differing)} differ"
        raise UserError(f"{out}: holds an export {said}; choose another --out, or delete it")
    if not set(formats) <= set(found["formats"]):
        raise UserError(f"{out}: holds {found['formats']}, not {list(formats)}; choose another --out, or delete it")
    return [Parity(**entry | {"size": tuple(entry["size"])}) for entry in found["parity"]]


def _outputs(student: Student, files: Sequence[File]) -> dict[str, endpoints.Shapes]:
    """Returns the shapes of the outputs of all endpoints that some file has."""
    used = [part for part in endpoints.PARTS if any(file.endpoint == part and not file.empty for file in files)]
    return {part: endpoints.shapes(student, part) for part in used}


def _left_out(files: Sequence[File]) -> list[dict[str, object]]:
    """Returns {task, files, reason} of all that tasks are left out of."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in files:
        for task, reason in file.left_out.items():
            found.setdefault((task, reason), []).append(file.path)
    return [{"task": task, "files": paths, "reason": reason} for (task, reason), paths in found.items()]


def _metrics(workdir: str | os.PathLike) -> dict[str, float]:
    """Returns the last value of each metric of a run, with its last step; evaluations are rarer than losses."""
    lines = read_metrics(workdir) if Path(workdir, METRICS).exists() else []
    return {name: value for line in lines for name, value in line.items()}
