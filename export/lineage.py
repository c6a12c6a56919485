"""Lineage of a student's weights: data, teachers, and the licenses of both."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from must_tf import copies, former, storage
from must_tf.errors import UserError
from must_tf.integrity import CARD
from must_tf.parsing import read_json
from must_tf.records.manifest import FILE as MANIFEST
from must_tf.records.manifest import read_manifest
from must_tf.saving import CONFIG, WEIGHTS, locate, read_records
from must_tf.tasks import thresholds

UNKNOWN = "unknown"
SAME, OTHERS = "the same", "others now"  # records, compared with those that a student was trained on
_GONE = "not found"

Entry = dict[str, Any]


def read_config(workdir: str | os.PathLike) -> dict[str, Any]:
    """Returns the config of a run as JSON values; empty where there is none."""
    path = Path(workdir, CONFIG)
    config = former.config(read_json(path)) if path.exists() else {}
    if not isinstance(config, dict):
        raise UserError(f"{path}: damaged: it holds no fields; bring the original file back")
    return config


def datasets(workdir: str | os.PathLike) -> list[Entry]:
    """Returns what is known of each folder that a run was trained on: images, labels by task and origin, license.

    Folders have the names of the run's config. `images` is None where a folder is not found, see `saving.locate`.
    `records` says whether what a folder holds is what the student learned from: `the same`, `others now` or `unknown`.
    `audits` has results of audits of the labels that the student learned from by task, see `records.Audited`, if there
    are any; where `records` is `unknown`, of the labels as they are now.
    """
    found = []
    trained_on = read_records(workdir)
    for folder in read_config(workdir).get("train", ()):
        entry: Entry = {"folder": str(folder), "images": None, "records": UNKNOWN, "labels": {}, "license": UNKNOWN}
        if place := locate(folder, workdir, MANIFEST):
            manifest = read_manifest(place, whole=False)
            entry |= {"images": manifest.count, "labels": manifest.counts}
            entry["license"] = manifest.source.get("license") or UNKNOWN
            learned = trained_on.get(str(storage.location(folder)))
            entry["records"] = UNKNOWN if not learned else SAME if learned == manifest.digest else OTHERS
            if audits := manifest.audits_of(learned or manifest.digest):
                entry["audits"] = {task: asdict(audited) for task, audited in audits.items()}
        found.append(entry)
    return found


def find_records(workdir: str | os.PathLike) -> tuple[str, str]:
    """Returns the first folder with images that a run was trained on: its name in the config, and where it is.

    Both are empty where none is found.
    """
    for entry in datasets(workdir):
        if entry["images"]:
            return entry["folder"], str(locate(entry["folder"], workdir, MANIFEST))
    return "", ""


def teachers(workdir: str | os.PathLike) -> list[Entry]:
    """Returns id, task, format, SHA-256, thresholds and license of the teachers of all datasets that are found."""
    found: dict[str, Entry] = {}
    for _, name, entry in _teachers(workdir):
        task = entry.get("task", {})
        found[name] = {"id": name, "task": task.get("name", UNKNOWN), "format": entry.get("format", UNKNOWN)}
        found[name] |= {"sha256": entry.get("sha256", UNKNOWN), "thresholds": thresholds(task)}
        found[name]["license"] = entry.get("license") or UNKNOWN
    return list(found.values())


def licenses(workdir: str | os.PathLike) -> list[Entry]:
    """Returns {what, license} of all that a run's weights were made of, through teachers that are students of ours.

    A license that nobody stated is `unknown`. Where something is not found, `missing` says what.
    """
    found = {entry["what"]: entry for entry in _walk(Path(workdir), set())}
    return list(found.values())


def lines(lineage: Sequence[Entry]) -> list[str]:
    """Returns one line on each license that the weights come under; see `licenses`."""
    missing = [f" ({entry['missing']})" if "missing" in entry else "" for entry in lineage]
    return [f"{entry['what']}: {entry['license']}{said}" for entry, said in zip(lineage, missing, strict=True)]


def require_allowed(workdir: str | os.PathLike, lineage: Sequence[Entry], allowed: Sequence[str]) -> None:
    """Checks that each license is one of those that are allowed, whatever the case of its letters.

    Several licenses of one thing, with semicolons between them, must all be allowed.

    Raises:
      UserError: names the first that is not, and what it is the license of.
    """
    known = {license.strip().lower() for license in allowed}
    for entry in lineage:
        license = entry["license"].lower()
        if license not in known and not {part.strip() for part in license.split(";")} <= known:
            missing = f" ({entry['missing']})" if "missing" in entry else ""
            raise UserError(
                f"{workdir}: license {entry['license']!r} of {entry['what']}{missing} is not allowed "
                f"(--allow_licenses={','.join(allowed)}); allow it, or train without it"
            )


def _walk(workdir: Path, seen: set[Path]) -> Iterator[Entry]:
    workdir = workdir.resolve()
    if workdir in seen:
        return
    seen.add(workdir)
    folders = datasets(workdir)
    if not folders:
        yield {"what": f"the data of {workdir.name}", "license": UNKNOWN, "missing": f"{CONFIG} names none"}
    for entry in folders:
        missing = {"missing": _GONE} if entry["images"] is None else {}
        yield {"what": f"data {entry['folder']}", "license": entry["license"]} | missing
    for dataset, name, entry in _teachers(workdir):
        yield from _teacher(dataset, name, entry, seen)
    if init := read_config(workdir).get("init_from"):
        yield from _init(init, workdir, seen)


def _teacher(dataset: storage.Location, name: str, entry: Entry, seen: set[Path]) -> Iterator[Entry]:
    """Yields the lineage of a teacher that is a student of ours; of others, and where its run is gone, its license.

    That of an ensemble or of a derived teacher is that of the teachers that it is made of.
    """
    if parts := entry.get("members") or ([entry["derived_from"]] if "derived_from" in entry else []):
        for part in parts:
            yield from _teacher(dataset, part.get("id", name), part, seen)
        return
    task = entry.get("task", {}).get("name", UNKNOWN)
    said = {"what": f"teacher {name} of task {task}", "license": entry.get("license") or UNKNOWN}
    if entry.get("format") != "student":
        yield said
        return
    place = locate(entry.get("path", ""), dataset, WEIGHTS)
    run = copies.fetched(place) if place else None
    if run and storage.sha256(run / WEIGHTS) == entry.get("sha256"):
        yield from _walk(run, seen)
    else:
        yield said | {"missing": "its run has other weights now" if run else f"its run is {_GONE}"}


def _init(init: str, workdir: Path, seen: set[Path]) -> Iterator[Entry]:
    """Yields the lineage of the weights that a run started from: those of a run, of an export, or unknown."""
    if run := locate(init, workdir, CONFIG):
        yield from _walk(copies.fetched(run), seen)
    elif export := locate(init, workdir, CARD):
        yield from former.card(read_json(export / CARD)).get("lineage", ())
    else:
        yield {"what": f"initial weights {init}", "license": UNKNOWN, "missing": "no run and no export"}


def _teachers(workdir: str | os.PathLike) -> Iterator[tuple[storage.Location, str, Entry]]:
    """Yields (dataset, id, entry of its manifest) of each teacher whose labels are in data of a run."""
    for folder in read_config(workdir).get("train", ()):
        if place := locate(folder, workdir, MANIFEST):
            for name, entry in read_manifest(place, whole=False).teachers.items():
                yield place, name, entry
