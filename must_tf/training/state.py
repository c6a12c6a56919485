"""Checkpoints of a run: whole or not there, verified before use."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.files import read_json, sha256, write_json

_STATE, _PREFIX = "state.json", "step-"


class Checkpoints:
    """The checkpoints of one run, one folder each: `step-00000500/{weights.*, state.json}`.

    A folder is renamed to its final name when all of it is on the disk; `state.json` holds the SHA-256 of the other
    files, so that what a disk lost later is found before it is used.

    Args:
      folder: holds the checkpoints.
      keep: how many of the newest stay.
      objects: by name, what is stored.
      writes: whether this process writes; of several workers one does, and the others only take part in the reading
        of variables that all of them share.
    """

    def __init__(self, folder: str | os.PathLike, keep: int, objects: Mapping[str, Any], writes: bool = True):
        self.folder, self.keep, self.writes = Path(folder), max(keep, 1), writes
        self.checkpoint = tf.train.Checkpoint(**objects)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint; one of the same step is replaced.

        Args:
          step: steps that were made.
          state: JSON values that go with it.
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
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            self._prune()
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def restore(self) -> tuple[int, dict[str, Any]] | None:
        """Restores the newest checkpoint that verifies; one that is damaged is named and left out.

        Returns:
          Its step and state; None where no checkpoint was ever written.

        Raises:
          UserError: there are checkpoints, and all of them are damaged.
        """
        damage = ""
        for folder in self._newest_first():
            damage = _damage(folder)
            if not damage:
                self.checkpoint.read(str(folder / "weights")).assert_existing_objects_matched()
                return int(folder.name.removeprefix(_PREFIX)), read_json(folder / _STATE)["state"]
            print(f"{folder}: {damage}; left out")
        if damage:
            raise UserError(f"{self.folder}: no checkpoint is whole; bring one back, or delete it all to begin again")
        return None

    def remove(self) -> None:
        """Deletes all of them."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _prune(self) -> None:
        for folder in list(self._newest_first())[self.keep :]:
            shutil.rmtree(folder)
        for leftover in self.folder.glob(f".{_PREFIX}*.tmp"):  # of a run that was killed as it wrote
            shutil.rmtree(leftover)

    def _newest_first(self) -> Iterator[Path]:
        return iter(sorted(self.folder.glob(f"{_PREFIX}*"), reverse=True))


def _damage(folder: Path) -> str:
    """Says what is wrong with a checkpoint; nothing where all is well."""
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
