"""Multi-Task Self-Training: one general backbone out of unlabeled images and a few teachers.

Each public name is imported on first use, so that `import must_tf` loads no TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Experiment": "training",
    "Student": "student",
    "Trunk": "trunk",
    "UserError": "errors",
    "evaluate": "inference",
    "evaluation": "",
    "export": "",
    "finetune": "training",
    "label": "labeling",
    "load_backbone": "export.loading",
    "load_student": "training",
    "load_teachers": "teachers",
    "open_dataset": "records",
    "report": "",
    "tasks": "",
    "teachers": "",
    "train": "training",
    "transfer": "evaluation",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    value = importlib.import_module(f"must_tf.{home or name}")
    if home:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
