"""Checkpoints of a run: written whole or not at all, and verified by SHA-256 before use."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.copies import catch_up, named, publish
from must_tf.errors import UserError
from must_tf.storage import bring_back, put_folder, read_json, sha256, write_json

RunState = Mapping[str, Any]  # all that a run changes: variables, and objects that hold some, by key in checkpoints

_STATE, _PREFIX = "state.json", "step-"


def variables_in(state: RunState) -> list[tf.Variable]:
    """Returns all variables that a checkpoint of this state stores, in a fixed order."""
    root = tf.train.Checkpoint(**state)  # a name of its own: a view holds it by a weak reference
    return [value for value in tf.train.TrackableView(root).descendants() if isinstance(value, tf.Variable)]


class Checkpoints:
    """The checkpoints of one run, one folder each: `step-00000500/{weights.*, state.json}`.

    A folder gets its final name when all of it is on the disk. `state.json` holds the SHA-256 of the other files, so
    that damage is found before they are used.

    Args:
      folder: holds the checkpoints.
      keep: how many of the newest stay, of those on schedule; the newest of all stays in any case.
      state: what is stored, by key; see `RunState`.
      writes: whether this process writes. Of several workers one does; the others only take part in reading variables
        that all of them share.
      every: steps between those on schedule. A run that was asked to stop leaves one off schedule.
    """

    def __init__(self, folder: str | os.PathLike, keep: int, state: RunState, writes: bool = True, every: int = 1):
        self.folder, self.keep, self.writes, self.every = Path(folder), max(keep, 1), writes, every
        self.checkpoint = tf.train.Checkpoint(**state)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint; one of the same step is replaced.

        Args:
          step: steps that were made.
          state: JSON values that are stored beside it.
        """
        if not self.writes:
            with tempfile.TemporaryDirectory() as elsewhere:
                self.checkpoint.write(str(Path(elsewhere, "weights")))
            return
        final = self.folder / f"{_PREFIX}{step:08d}"
        temporary = self.folder / f".{final.name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            self.checkpoint.write(str(temporary / "weights"))
            files = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
            write_json(temporary / _STATE, {"step": step, "files": files, "state": state})
            put_folder(temporary, final)
            publish(final)
            self._prune()
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def amend(self, step: int, state: Mapping[str, Any]) -> None:
        """Replaces the JSON values beside the checkpoint of a step, at once: its weights stay, and are as they were.

        Args:
          step: of a checkpoint that is whole.
          state: the new values.
        """
        if self.writes:
            path = self.folder / f"{_PREFIX}{step:08d}" / _STATE
            write_json(path, read_json(path) | {"state": state})
            publish(path)

    def restore(
        self, on_schedule: bool = False, check: Callable[[dict[str, Any]], None] = lambda state: None
    ) -> tuple[int, dict[str, Any]] | None:
        """Restores the newest checkpoint that is whole; one that is damaged is skipped, and named.

        Args:
          on_schedule: only of those that a run has that was never stopped.
          check: is given the state before the weights are read, and raises where the run cannot go on from it.

        Returns:
          Its step and state; None where there is none.

        Raises:
          UserError: there are checkpoints, and all of them are damaged.
        """
        damage = ""
        if self.writes:
            bring_back(self.folder)
        catch_up(self.folder)
        for folder in _newest_first(self.folder):
            if on_schedule and not self._on_schedule(folder):
                continue
            damage = _damage(folder)
            if not damage:
                state = read_json(folder / _STATE)["state"]
                check(state)
                self.checkpoint.read(str(folder / "weights")).assert_existing_objects_matched()
                return _step(folder), state
            print(f"{named(folder)}: {named(damage)}; skipped")
        if damage:
            raise UserError(
                f"{self.folder}: no checkpoint is whole; bring one back, or delete the folder to start again"
            )
        return None

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for folder in _newest_first(self.folder):
            if self.writes and _step(folder) > step:
                shutil.rmtree(folder)

    def remove(self) -> None:
        """Deletes all checkpoints."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _prune(self) -> None:
        folders = _newest_first(self.folder)
        kept = {folders[0], *list(filter(self._on_schedule, folders))[: self.keep]}
        for folder in folders:
            if folder not in kept:
                shutil.rmtree(folder)
        for leftover in self.folder.glob(f".{_PREFIX}*.tmp"):  # of a run that was killed while it wrote
            shutil.rmtree(leftover)

    def _on_schedule(self, folder: Path) -> bool:
        return _step(folder) % self.every == 0


def newest_state(folder: Path) -> dict[str, Any] | None:
    """Returns the state beside the newest checkpoint in a folder that is whole; None if there is none."""
    whole = (one for one in _newest_first(folder) if not _damage(one))
    newest = next(whole, None)
    return read_json(newest / _STATE)["state"] if newest else None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"), reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix(_PREFIX))


def _damage(folder: Path) -> str:
    """Returns what is wrong with a checkpoint; empty where it is whole."""
    try:
        files = read_json(folder / _STATE)["files"]
    except (UserError, KeyError) as error:
        return f"not a whole checkpoint ({error})"
    for name, digest in files.items():
        if not (folder / name).exists():
            return f"{name} is missing"
        if sha256(folder / name) != digest:
            return f"{name} is damaged"
    return ""
