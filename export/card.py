"""What an export is: facts for card.json, for ONNX's metadata and for the README."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import must_tf
from must_tf import former, storage
from must_tf.errors import UserError
from must_tf.export import endpoints, lineage, readme
from must_tf.export.parity import Parity
from must_tf.export.verify import CARD, SCHEMA, describe_files, verify
from must_tf.saving import CONFIG
from must_tf.student import Student
from must_tf.tasks import to_json
from must_tf.training.monitor import FILE as METRICS
from must_tf.training.monitor import read_metrics

README = "README.md"
_SAME = ("weights_sha256", "trunk", "tasks", "normalization", "litert")  # of two exports that may stand for each other

Card = dict[str, Any]


def describe(student: Student, workdir: str | os.PathLike, normalize: bool = True) -> Card:
    """Returns what can be said of an export before a file is written, as JSON values."""
    trunk = student.architecture.trunk
    config = Path(workdir, CONFIG)
    settings = former.config(storage.read_json(config)) if config.exists() else {}
    outputs = {part: endpoints.shapes(endpoints.outputs(student, part, normalize)) for part in endpoints.PARTS}
    card = {
        "schema": SCHEMA,
        "must_tf": must_tf.__version__,
        "name": Path(workdir).absolute().name,
        "weights_sha256": storage.sha256(Path(workdir, lineage.WEIGHTS)),
        "trunk": dataclasses.asdict(trunk),
        "levels": [] if student.decoder is None else list(trunk.levels),
        "tasks": [to_json(task) for task in student.tasks.values()],
        **endpoints.contract(normalize),
        "input_size": list(settings.get("input_size", (224, 224))),
        "outputs": {part: shapes for part, shapes in outputs.items() if shapes},
        "data": lineage.datasets(settings),
        "teachers": lineage.teachers(settings),
        "lineage": lineage.licenses(workdir),
        "metrics": _metrics(workdir),
    }
    return json.loads(json.dumps(card))  # tuples become lists, as they are in a card that was read


def metadata(card: Card) -> dict[str, str]:
    """Returns what an ONNX file says of itself: lines of text, and JSON where a value has parts."""
    classes = {task["name"]: task["class_names"] for task in card["tasks"] if "class_names" in task}
    parts = {"tasks": {task["name"]: task["kind"] for task in card["tasks"]}, "classes": classes}
    parts |= {key: card[key] for key in ("levels", "trunk", "normalization")}
    lines = {key: card[key] for key in ("must_tf", "name", "weights_sha256", "input")}
    return lines | {key: json.dumps(value) for key, value in parts.items()} | {"license": "; ".join(licenses(card))}


def licenses(card: Card) -> list[str]:
    """Returns a line on each license that the weights come under."""
    return [f"{entry['what']}: {entry['license']}" for entry in card["lineage"]]


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
    storage.write_bytes(folder / README, readme.render(card, snippets, licenses(card)).encode())


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


def _metrics(workdir: str | os.PathLike) -> dict[str, float]:
    """Returns the last value of each metric of a run, with its last step; evaluations are rarer than losses."""
    lines = read_metrics(workdir) if Path(workdir, METRICS).exists() else []
    return {name: value for line in lines for name, value in line.items() if isinstance(value, (int, float))}
