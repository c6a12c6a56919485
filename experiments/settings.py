"""Writes down what the run of a folder is, so that another one does not go on in it."""

from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError


def keep_settings(path: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a run; raises a `UserError` where the folder has a run with others."""
    before = storage.read_json(path) if path.exists() else settings
    if before != settings:
        raise UserError(
            f"{path.parent}: has a run with {before}, now {settings}; give another --out, or those settings"
        )
    storage.write_json(path, settings)
