"""Teachers: any model that turns images into labels of one task. One file per format; formats know no kind.

The names here are imported when they are first used: what flags say is checked before TensorFlow is loaded.
"""

import importlib
from typing import Any

_HOMES = {
    "Card": "card",
    "Teacher": "teacher",
    "TeacherSpec": "spec",
    "describe_model": "loading",
    "load_teacher": "loading",
    "load_teachers": "loading",
    "make_card": "card",
    "read_card": "card",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
