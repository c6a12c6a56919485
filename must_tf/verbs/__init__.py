"""What the commands do, as functions: arguments have the names of the flags, results are typed and print themselves.

`must_tf.label`, `must_tf.train` and the others are these functions. They raise `UserError` for what a user can mend.
Each is imported on first use.
"""

import importlib
from typing import Any

_MODULES = {
    "batches": "fitting",
    "convert": "converting",
    "evaluate": "evaluating",
    "export": "exporting",
    "finetune": "training",
    "init": "starting",
    "inspect": "inspecting",
    "label": "labeling",
    "rounds": "iterating",
    "train": "training",
    "transfer": "transferring",
    "weigh": "weighing",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Imports a verb on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
