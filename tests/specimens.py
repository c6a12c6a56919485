"""Labels and predictions of each kind for the contract tests, from the `SPECIMEN` in `tests/tasks/KIND/specimen.py`.

MUST_TF_SPECIMENS=FOLDER adds those of kinds of another package, `FOLDER/KIND/specimen.py`.
"""

import abc
import importlib.util
import os
from pathlib import Path

import numpy as np

VIEW = (64, 64)


class Specimen(abc.ABC):
    """Labels and predictions of one kind of task.

    Attributes:
      tasks: tasks of the kind; the first one is its usual form, the others have other settings.
      empty_is_label: whether an empty label means that nothing is there (boxes), or that there is no label (maps).
    """

    tasks = ()
    empty_is_label = False

    @abc.abstractmethod
    def random_label(self, task, rng, height, width):
        """Returns a random label, with invalid parts if the kind has them."""

    @abc.abstractmethod
    def hard_label(self, task, rng):
        """Returns a label of an image of size VIEW that a prediction can fit perfectly."""

    def empty_labels(self, task, height, width):
        """Returns labels without any valid content."""
        return []

    def other_identities(self, task):
        """Returns tasks of the same kind and name with another identity; their labels must not be mixed."""
        return []

    @abc.abstractmethod
    def assert_same(self, task, got, want):
        """Asserts that a label is unchanged by encoding and decoding, within the bound that its kind states."""

    @abc.abstractmethod
    def assert_close(self, task, got, want, exact):
        """Asserts that the label of a perfect prediction is the true one; `exact`: it was not stored in a record."""

    @abc.abstractmethod
    def random_prediction(self, task, rng, count, view=VIEW):
        """Returns a random raw prediction for a batch."""

    @abc.abstractmethod
    def perfect_prediction(self, task, target):
        """Returns the raw prediction, at the size of the view, that fits a target perfectly, as a batch of 1."""

    @abc.abstractmethod
    def perfect_outputs(self, task, target):
        """Returns the outputs of `decode_predictions` for a perfect and certain student, for one image, in numpy."""

    def marker_label(self, task, inside):
        """Returns a label that marks only the pixels `inside`, bool [H, W]; kinds without positions leave it out."""
        raise NotImplementedError

    def marked_box(self, task, values):
        """Returns the box marked in a target or outputs (ymin, xmin, ymax, xmax; fractions); None if there is none."""
        raise NotImplementedError

    @abc.abstractmethod
    def assert_counted(self, task, label, found):
        """Asserts that the results of `statistics` agree with a label."""


def has_positions(task):
    """Whether the specimen of a task marks pixels."""
    return type(of(task)).marker_label is not Specimen.marker_label


def extent(inside):
    """Returns the tight box of the True pixels of a map, bool [H, W], in fractions; None if there are none."""
    y, x = np.nonzero(inside)
    size = np.array([*inside.shape, *inside.shape])
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) / size if len(y) else None


def holes(rng, height, width):
    """Returns a random map of invalid pixels, bool [H, W], with at least one valid pixel."""
    found = rng.random((height, width)) < 0.3
    found[rng.integers(height), rng.integers(width)] = False
    return found


def _load(path):
    spec = importlib.util.spec_from_file_location(f"specimen_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SPECIMEN


_FOLDERS = [Path(__file__).parent / "tasks", *map(Path, filter(None, [os.environ.get("MUST_TF_SPECIMENS")]))]
SPECIMENS = {path.parent.name: _load(path) for one in _FOLDERS for path in sorted(one.glob("*/specimen.py"))}


def of(task):
    """Returns the specimen of a task's kind."""
    return SPECIMENS[task.kind]
