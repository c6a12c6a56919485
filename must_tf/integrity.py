"""Checks SHA-256 and size of the files of an export against its card.json, before any of them is opened."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from must_tf import copies, former, storage
from must_tf.errors import UserError
from must_tf.parsing import read_json, short

CARD = "card.json"
SCHEMA = 2
_ARCHITECTURE = "architecture.json"
_DEPTH = 4  # folders between an export and its weights: savedmodel/backbone/variables/variables

Entry = dict[str, Any]


def read_card(where: str | os.PathLike) -> dict[str, Any]:
    """Reads the card of an export; its files are not opened.

    Raises:
      UserError: no export, a card of another schema, or a card whose list of files is damaged.
    """
    path = copies.fetched(where) / CARD
    if not path.is_file():
        raise UserError(f"{where}: no {CARD}; expected a folder that `must export` made")
    card = former.card(read_json(path))
    schema = card.get("schema") if isinstance(card, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path}: schema {short(schema)}, this version reads {SCHEMA}; export again")
    listed = card.get("files")
    if not isinstance(listed, dict) or not all(_is_entry(entry) for entry in listed.values()):
        raise UserError(f"{path}: damaged: it has no list of files with their bytes and SHA-256; export again")
    return card


def check_export(where: str | os.PathLike, under: str = "") -> dict[str, Any]:
    """Checks files of an export against its card.

    Args:
      where: the export.
      under: a folder or file of it, as `keras`; by default all files are checked.

    Returns:
      The card.

    Raises:
      UserError: see `read_card`; nothing is listed under this name; a name that points out of the folder; a file that
        is missing, cut short or of another SHA-256.
    """
    where = copies.fetched(where)
    card = read_card(where)
    listed = card["files"]
    if under and not any(is_under(name, under) for name in listed):
        raise UserError(f"{where}: holds no {under}; export with --formats={under.partition('/')[0]}")
    opened = {name: entry for name, entry in listed.items() if is_under(name, under) or name == _ARCHITECTURE}
    for name in listed:
        _check_name(Path(where), name)
    check_files(where, opened, CARD)
    return card


def check_weights(prefix: str | os.PathLike) -> None:
    """Checks the files of a checkpoint where it lies in an export; of other checkpoints no SHA-256 is known.

    Args:
      prefix: name that the files of the checkpoint begin with.

    Raises:
      UserError: see `check_export`.
    """
    prefix = Path(prefix).absolute()
    for folder in list(prefix.parents)[:_DEPTH]:
        if (folder / CARD).is_file() and (folder / _ARCHITECTURE).is_file():
            check_export(folder, prefix.parent.relative_to(folder).as_posix())
            return
    if prefix.match("savedmodel/backbone/variables/variables"):
        raise UserError(f"{prefix.parents[3]}: no {CARD}; expected a folder that `must export` made")


def describe_files(folder: str | os.PathLike) -> dict[str, Entry]:
    """Returns {name: {bytes, sha256}} of all files of a folder; names are relative to it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(Path(folder).rglob("*")) if path.is_file()}
    return {name: {"bytes": path.stat().st_size, "sha256": storage.sha256(path)} for name, path in found.items()}


def check_files(folder: str | os.PathLike, listed: Mapping[str, Entry], source: str) -> None:
    """Checks that files are what `describe_files` said of them.

    Args:
      folder: where the files are.
      listed: what `describe_files` returned, or a part of it.
      source: name of the file that holds the list, for messages.

    Raises:
      UserError: a file that is missing, cut short or of another SHA-256.
    """
    for name, entry in listed.items():
        path = Path(folder, name)
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes of {entry['bytes']}"
            raise UserError(f"{path}: {found}; bring the original file back, or write it again")
        if storage.sha256(path) != entry["sha256"]:
            raise UserError(
                f"{path}: its SHA-256 is not that of {source}; bring the original file back, or write it again"
            )


def is_under(name: str, folder: str) -> bool:
    """Whether a file of an export is, or lies in, `folder`; the empty name is the whole export."""
    return not folder or name == folder or name.startswith(f"{folder.rstrip('/')}/")


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)


def _check_name(where: Path, name: str) -> None:
    parts = PurePosixPath(name)
    outside = parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name
    if outside or not (where / name).resolve().is_relative_to(where.resolve()):
        raise UserError(f"{where / CARD}: names {short(name)}, which is not inside the export; do not use it")
