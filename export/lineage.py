"""Where a student's weights come from: data, teachers, and the licenses of both."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf import former, storage
from must_tf.errors import UserError
from must_tf.records.manifest import FILE as MANIFEST
from must_tf.records.manifest import read_manifest
from must_tf.saving import CONFIG, STUDENT

UNKNOWN = "unknown"
WEIGHTS = Path(STUDENT, "weights.data-00000-of-00001")

Entry = dict[str, Any]


def datasets(config: dict[str, Any]) -> list[Entry]:
    """Returns what is known of each folder that a run was trained on: images, labels by task and origin, license."""
    return [_dataset(str(folder)) for folder in config.get("train", ())]


def teachers(config: dict[str, Any]) -> list[Entry]:
    """Returns id, task, format, SHA-256, threshold and license of the teachers of all datasets that are still there."""
    found: dict[str, Entry] = {}
    for _, name, entry in _teachers(config):
        task = entry.get("task", {})
        found[name] = {"id": name, "task": task.get("name", UNKNOWN), "format": entry.get("format", UNKNOWN)}
        found[name] |= {"sha256": entry.get("sha256", UNKNOWN), "min_score": task.get("min_score")}
        found[name]["license"] = entry.get("license") or UNKNOWN
    return list(found.values())


def licenses(workdir: str | os.PathLike) -> list[Entry]:
    """Returns {what, license} of all that a run's weights were made of, through teachers that are students of ours.

    A license that nobody stated is `unknown`; so is that of a run whose data are not where it found them.
    """
    found = {entry["what"]: entry for entry in _walk(Path(workdir), set())}
    return list(found.values())


def require_allowed(workdir: str | os.PathLike, lineage: Sequence[Entry], allowed: Sequence[str]) -> None:
    """Checks that each license is one of those that are allowed, whatever the case of its letters.

    Raises:
      UserError: names the first that is not, and what it is the license of.
    """
    known = {license.strip().lower() for license in allowed}
    for entry in lineage:
        if entry["license"].lower() not in known:
            raise UserError(
                f"{workdir}: license {entry['license']!r} of {entry['what']} is not allowed "
                f"(--allow_licenses={','.join(allowed)}); allow it, or train without it"
            )


def _walk(workdir: Path, seen: set[Path]) -> Iterator[Entry]:
    workdir = workdir.resolve()
    if workdir in seen:
        return
    seen.add(workdir)
    config = former.config(storage.read_json(workdir / CONFIG)) if (workdir / CONFIG).exists() else {}
    folders = datasets(config)
    if not folders:
        yield {"what": f"the data of {workdir.name}", "license": UNKNOWN}
    for entry in folders:
        yield {"what": f"data {entry['folder']}", "license": entry["license"]}
    for _, name, entry in _teachers(config):
        license, source = entry.get("license") or UNKNOWN, Path(entry.get("path", ""))
        if entry.get("format") == "student" and _holds(source, entry.get("sha256")):
            yield from _walk(source, seen)
        else:
            task = entry.get("task", {}).get("name", UNKNOWN)
            yield {"what": f"teacher {name} of task {task}", "license": license}
    if config.get("init_from"):
        yield from _init(Path(config["init_from"]), seen)


def _init(init: Path, seen: set[Path]) -> Iterator[Entry]:
    """Yields the lineage of the weights that a run started from: a run's, an export's, or unknown."""
    if (init / CONFIG).exists():
        yield from _walk(init, seen)
    elif (init / "card.json").exists():
        yield from former.card(storage.read_json(init / "card.json")).get("lineage", ())
    else:
        yield {"what": f"initial weights {init}", "license": UNKNOWN}


def _holds(workdir: Path, sha256: str | None) -> bool:
    """Whether a workdir still has the weights of this digest."""
    weights = workdir / WEIGHTS
    return weights.is_file() and storage.sha256(weights) == sha256


def _dataset(folder: str) -> Entry:
    if not Path(folder, MANIFEST).exists():
        return {"folder": folder, "images": None, "labels": {}, "license": UNKNOWN}
    manifest = read_manifest(folder, whole=False)
    license = manifest.source.get("license") or UNKNOWN
    return {"folder": folder, "images": manifest.count, "labels": manifest.counts, "license": license}


def _teachers(config: dict[str, Any]) -> Iterator[tuple[str, str, Entry]]:
    """Yields (dataset, id, what its manifest says) of each teacher whose labels are in it."""
    for folder in config.get("train", ()):
        if Path(folder, MANIFEST).exists():
            for name, entry in read_manifest(folder, whole=False).teachers.items():
                yield str(folder), name, entry
