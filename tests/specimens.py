"""What the contract tests ask of each kind of task. A kind has one `tests/tasks/KIND/specimen.py` with a `SPECIMEN`."""

import abc
import importlib.util
from pathlib import Path

import numpy as np

VIEW = (64, 64)


class Specimen(abc.ABC):
    """Labels and predictions of one kind of task.

    Attributes:
      tasks: of the kind; the first one stands for it, the others are variants with other settings.
      empty_is_label: whether a label without content says that nothing is there (boxes), or is no label (maps).
    """

    tasks = ()
    empty_is_label = False

    @abc.abstractmethod
    def random_label(self, task, rng, height, width):
        """Returns a label with something in it, and with invalid parts where its kind knows them."""

    @abc.abstractmethod
    def hard_label(self, task, rng):
        """Returns a label of an image of VIEW that one prediction fits perfectly."""

    def empty_labels(self, task, height, width):
        """Returns labels with nothing in them that counts."""
        return []

    def strangers(self, task):
        """Returns tasks of the same kind and name whose labels must not be mixed with the task's."""
        return []

    @abc.abstractmethod
    def assert_same(self, task, got, want):
        """Asserts that a label came back from its features within the bound that its kind states."""

    @abc.abstractmethod
    def assert_close(self, task, got, want, exact):
        """Asserts that a label is the one of a perfect prediction; `exact`: it went through no record."""

    @abc.abstractmethod
    def random_prediction(self, task, rng, count, view=VIEW):
        """Returns what a head might give for a batch."""

    @abc.abstractmethod
    def perfect_prediction(self, task, one):
        """Returns a prediction, at the size of the view, that says what one target says, as a batch of one."""

    @abc.abstractmethod
    def perfect_outputs(self, task, one):
        """Returns what `decode_predictions` gives where the student is right and certain, for one image, in numpy."""

    def marker_label(self, task, inside):
        """Returns a label that marks a box of pixels `inside`, bool [H, W], and nothing else; of kinds with a frame."""
        raise NotImplementedError

    def marked(self, task, values):
        """Returns the box that a target or outputs mark, in fractions (ymin, xmin, ymax, xmax); None for none."""
        raise NotImplementedError

    @abc.abstractmethod
    def assert_counted(self, task, label, found):
        """Asserts that `statistics` add up to what is in a label."""


def extent(inside):
    """Returns the tight box of the pixels of a map, bool [H, W], in fractions; None where there are none."""
    y, x = np.nonzero(inside)
    size = np.array([*inside.shape, *inside.shape])
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) / size if len(y) else None


def holes(rng, height, width):
    """Returns which pixels of a random map are invalid, bool [H, W]; never all."""
    found = rng.random((height, width)) < 0.3
    found[rng.integers(height), rng.integers(width)] = False
    return found


def _load(path):
    spec = importlib.util.spec_from_file_location(f"specimen_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SPECIMEN


SPECIMENS = {path.parent.name: _load(path) for path in sorted((Path(__file__).parent / "tasks").glob("*/specimen.py"))}


def of(task):
    """Returns the specimen of a task's kind."""
    return SPECIMENS[task.kind]
