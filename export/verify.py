"""Whether an export is what was written: names that stay inside, files that are whole, hashes that agree."""

import os
from pathlib import Path, PurePosixPath
from typing import Any

from must_tf import former, storage
from must_tf.errors import UserError
from must_tf.saving import read_architecture

CARD = "card.json"
SCHEMA = 2


def verify(where: str | os.PathLike, under: str = "") -> dict[str, Any]:
    """Checks an export against its card before anything of it is loaded.

    Args:
      where: the export.
      under: a folder or file of it, as `keras`; the others need not be read then.

    Returns:
      What card.json holds.

    Raises:
      UserError: no export; a card or an architecture that is damaged; a name that points out of the folder; a file
        that is missing, cut short or of another SHA-256.
    """
    where = Path(where)
    card = read_card(where)
    listed = card["files"]
    if under and not any(_is_under(name, under) for name in listed):
        raise UserError(f"{where}: holds no {under}; export with --formats={under.partition('/')[0]}")
    for name, entry in listed.items():
        _check_name(where, name)
        if _is_under(name, under):
            _check_file(where / name, entry)
    return card


def read_card(where: str | os.PathLike) -> dict[str, Any]:
    """Reads an export's card and architecture, and checks that they are ones; files are not looked at."""
    where = Path(where)
    path = where / CARD
    if not path.is_file():
        raise UserError(f"{where}: no {CARD}; expected a folder that `must export` made")
    card = former.card(storage.read_json(path))
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        schema = card.get("schema") if isinstance(card, dict) else None
        raise UserError(f"{path}: schema {schema!r}, this version reads {SCHEMA}; export again")
    listed = card.get("files")
    if not isinstance(listed, dict) or not all(_is_entry(entry) for entry in listed.values()):
        raise UserError(f"{path}: damaged: its list of files is none; export again")
    try:
        names = [task.name for task in read_architecture(where).tasks]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: architecture.json is damaged ({type(error).__name__}: {error}); export again"
        ) from None
    for name in names:
        if not isinstance(name, str) or set(name) & {"/", "\\", "\0"} or name in ("", ".", ".."):
            raise UserError(f"{where}: architecture.json is damaged: {name!r} is no name of a task; export again")
    return card


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns bytes and SHA-256 of each file of a folder, by its name in it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: {"bytes": path.stat().st_size, "sha256": storage.sha256(path)} for name, path in found.items()}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)


def _is_under(name: str, under: str) -> bool:
    return not under or name == under or name.startswith(f"{under.rstrip('/')}/")


def _check_name(where: Path, name: str) -> None:
    parts = PurePosixPath(name)
    inside = (where / name).resolve().is_relative_to(where.resolve())
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or not inside:
        raise UserError(f"{where / CARD}: names {name!r}, which is not inside the export; do not use it")


def _check_file(path: Path, entry: dict[str, Any]) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size != entry["bytes"]:
        found = "is missing" if size is None else f"has {size} bytes of {entry['bytes']}"
        raise UserError(f"{path}: {found}; get the export again, or delete it and export")
    if storage.sha256(path) != entry["sha256"]:
        raise UserError(f"{path}: its SHA-256 is not that of {CARD}; get the export again, or delete it and export")
