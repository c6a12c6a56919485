"""Multi-Task Self-Training: one general backbone out of unlabeled images and a few teachers.

The verbs of the command line are functions with the same arguments: `must_tf.label`, `must_tf.train`, `must_tf.export`,
... (see `must_tf.verbs`). Each public name is imported on first use, so that `import must_tf` loads no TensorFlow.
"""

import importlib
import types
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Experiment": "training",
    "Student": "student",
    "Trunk": "trunk",
    "UserError": "errors",
    "batches": "verbs.fitting",
    "convert": "",
    "evaluate": "verbs.evaluating",
    "evaluation": "",
    "export": "",
    "finetune": "verbs.training",
    "init": "verbs.starting",
    "inspect": "verbs.inspecting",
    "label": "verbs.labeling",
    "load_backbone": "export.loading",
    "load_student": "training",
    "load_teachers": "teachers",
    "open_dataset": "records",
    "quality": "",
    "report": "",
    "rounds": "verbs.iterating",
    "tasks": "",
    "teachers": "",
    "train": "verbs.training",
    "transfer": "verbs.transferring",
    "verbs": "",
    "weigh": "verbs.weighing",
}
_VERBS = {"convert": "verbs.converting", "export": "verbs.exporting", "report": "report.loop"}  # packages too

__all__ = sorted(_HOMES)


class Verb(types.ModuleType):
    """A package that has the name of a verb: `must_tf.export(...)` runs it, and `must_tf.export.loading` is in it.

    Such a package ends with `sys.modules[__name__].__class__ = Verb`.
    """

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Runs the verb."""
        return self._verb(*arguments, **named)

    @property
    def __signature__(self) -> Any:
        """The arguments of the verb, for `help` and notebooks."""
        import inspect

        return inspect.signature(self._verb)

    @property
    def _verb(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(f"must_tf.{_VERBS[name]}"), name)


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
