"""Teachers: models of any format that label images for one task. One file per format; formats do not depend on kinds.

Public names are imported on first use, so that flags can be checked before TensorFlow is loaded.
"""

import importlib
from typing import Any

_MODULES = {
    "Card": "card",
    "Teacher": "teacher",
    "TeacherSpec": "spec",
    "describe_model": "loading",
    "load_teacher": "loading",
    "load_teachers": "loading",
    "make_card": "card",
    "read_card": "card",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
