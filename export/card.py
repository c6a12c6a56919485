"""What an export is: facts for card.json, for ONNX's metadata and for the README."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import must_tf
from must_tf import files
from must_tf.errors import UserError
from must_tf.export import endpoints, readme
from must_tf.export.parity import Parity
from must_tf.records.manifest import FILE as MANIFEST
from must_tf.student import Student
from must_tf.tasks import to_json
from must_tf.training.checkpoint import STUDENT
from must_tf.training.loop import CONFIG

CARD, README = "card.json", "README.md"
_SCHEMA = 1

Card = dict[str, Any]


def describe(student: Student, workdir: str | os.PathLike) -> Card:
    """Returns what can be said of an export before a file is written, as JSON values."""
    trunk = student.architecture.trunk
    config = Path(workdir, CONFIG)
    settings = files.read_json(config) if config.exists() else {}
    card = {
        "schema": _SCHEMA,
        "must_tf": must_tf.__version__,
        "name": Path(workdir).absolute().name,
        "weights_sha256": files.sha256(Path(workdir, STUDENT, "weights.data-00000-of-00001")),
        "trunk": dataclasses.asdict(trunk),
        "levels": [] if student.decoder is None else list(trunk.levels),
        "tasks": [to_json(task) for task in student.tasks.values()],
        "input": endpoints.INPUT,
        "input_size": list(settings.get("input_size", (224, 224))),
        "outputs": {part: endpoints.shapes(endpoints.outputs(student, part)) for part in endpoints.PARTS},
        "teachers": _teachers(settings.get("train", ())),
    }
    return json.loads(json.dumps(card))  # tuples become lists, as they are in a card that was read


def metadata(card: Card) -> dict[str, str]:
    """Returns what an ONNX file says of itself: lines of text, and JSON where a value has parts."""
    classes = {task["name"]: task["class_names"] for task in card["tasks"] if "class_names" in task}
    parts = {"tasks": {task["name"]: task["kind"] for task in card["tasks"]}, "classes": classes}
    parts |= {"levels": card["levels"], "trunk": card["trunk"]}
    lines = {key: card[key] for key in ("must_tf", "name", "weights_sha256", "input")}
    return lines | {key: json.dumps(value) for key, value in parts.items()} | {"licence": "; ".join(licences(card))}


def licences(card: Card) -> list[str]:
    """Returns a line on the licence of each teacher, or one that says that none is known."""
    lines = [f"{entry['task']}: teacher {entry['id']}: {entry['licence']}" for entry in card["teachers"]]
    return lines or ["no teacher is known; labels and images of the training data have licences of their own"]


def write(folder: Path, card: Card, formats: Sequence[str], parities: Sequence[Parity]) -> None:
    """Writes card.json and README.md beside the files that lie in a folder."""
    card = card | {
        "formats": list(formats),
        "files": _sizes(folder),
        "parity": [dataclasses.asdict(parity) for parity in parities],
    }
    files.write_json(folder / CARD, card)
    files.write_bytes(folder / README, readme.render(card, licences(card)).encode())


def existing(out: Path, card: Card, formats: Sequence[str]) -> list[Parity]:
    """Returns the parities of a finished export of the same student; anything else in the folder is a `UserError`."""
    if not (out / CARD).is_file():
        raise UserError(f"{out}: exists, and is no export; choose another --out")
    found = files.read_json(out / CARD)
    if any(found.get(key) != card[key] for key in ("schema", "weights_sha256", "trunk", "tasks")):
        raise UserError(f"{out}: holds the export of another student; choose another --out, or delete it")
    if not set(formats) <= set(found["formats"]):
        raise UserError(f"{out}: holds {found['formats']}, not {list(formats)}; choose another --out, or delete it")
    now = _sizes(out)
    for name, size in found["files"].items():
        if now.get(name) != size:
            raise UserError(f"{out / name}: has {now.get(name)} bytes, card.json says {size}; delete {out} and export")
    return [Parity(**entry | {"size": tuple(entry["size"])}) for entry in found["parity"]]


def _sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of each file, without the card itself."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.stat().st_size for name, path in found.items() if name not in (CARD, README)}


def _teachers(datasets: Sequence[str]) -> list[dict[str, str]]:
    """Returns id, task and licence of the teachers of the datasets that are still where training found them."""
    found = {}
    for manifest in (Path(folder, MANIFEST) for folder in datasets):
        entries = files.read_json(manifest)["teachers"] if manifest.exists() else {}
        for name, entry in entries.items():
            task = entry.get("task", {}).get("name", "unknown")
            found[name] = {"id": name, "task": task, "licence": entry.get("licence") or "unknown"}
    return list(found.values())
