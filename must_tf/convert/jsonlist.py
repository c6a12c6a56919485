"""Writes a JSON list to a file as its values come, so that a list of any length takes no memory."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class JsonList:
    """A JSON list in a file, one value per line.

    Args:
      path: of the file.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._count = path, 0
        self._file = path.open("w", encoding="utf-8")
        self._file.write("[")

    @property
    def count(self) -> int:
        """How many values it has."""
        return self._count

    def add(self, value: Any) -> None:
        """Writes one more value."""
        self._file.write(",\n" if self._count else "\n")
        self._file.write(json.dumps(value, allow_nan=False))
        self._count += 1

    def close(self) -> None:
        """Ends the list."""
        self._file.write("\n]\n")
        self._file.close()


def join(path: Path, head: Mapping[str, Any], lists: Mapping[str, JsonList]) -> None:
    """Writes a JSON object of some values and of lists, whose own files go.

    Args:
      path: of the file.
      head: the first values by name; at least one.
      lists: the others by name, not yet closed.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, allow_nan=False).removesuffix("}"))
        for name, values in lists.items():
            values.close()
            file.write(f",\n{json.dumps(name)}: ")
            with values.path.open(encoding="utf-8") as part:
                shutil.copyfileobj(part, file)
            values.path.unlink()
        file.write("}\n")
