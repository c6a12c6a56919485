"""How outputs of a foreign model become those of a kind of task, as a teacher card says.

A kind has one reader: a frozen dataclass whose fields are the card's fields that belong to the kind. Formats of model
files know no kind, and readers know no format.
"""

import abc
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from must_tf.geometry import Size

Arrays = Mapping[str, np.ndarray]

GUESS = "# guess"  # marks a line of a draft that a person must check


class Slot(NamedTuple):
    """One input or output of a model.

    Attributes:
      name: as the file has it.
      shape: sizes, with the batch first where there is one; None where any will do.
      dtype: as numpy names it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def batched(self) -> "Slot":
        """Returns an input of one image without a batch axis as one of a batch of 1; others as they are."""
        return self._replace(shape=(1, *self.shape)) if len(self.shape) == 3 else self

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"


class Form(NamedTuple):
    """The shape that the array of a role must have.

    Attributes:
      ranks: how many axes it may have, the batch included.
      last: size of the last axis in standard form; 0 where any will do.
      is_map: whether it is [batch, h, w, C] in the layout that the card says, or [batch, h, w] of one channel.
    """

    ranks: tuple[int, ...]
    last: int = 0
    is_map: bool = False


@dataclasses.dataclass(frozen=True)
class Reader(abc.ABC):
    """Fields of a card that belong to a kind, and what they mean. A field that is None is not given.

    `__post_init__` raises a ValueError, `FIELD: problem`, for values that cannot be.
    """

    @abc.abstractmethod
    def task_fields(self) -> dict[str, Any]:
        """Returns the fields of the task of the model's labels, but for its name."""

    @abc.abstractmethod
    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """Returns the roles that a card must give an output to, and those that it may.

        Args:
          given: the roles that this card's `outputs` names.
        """

    @abc.abstractmethod
    def form(self, role: str) -> Form:
        """Returns the shape of the array of a role, after `regular`."""

    @abc.abstractmethod
    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """Returns the arrays of `Task.decode_predictions`, in numpy.

        Args:
          arrays: float32, by role, in standard form (see `standard`), and those of `constants`.
          view: height and width of the images that the model saw.
        """

    def needed(self, given: Collection[str]) -> list[str]:
        """Returns the fields that the card must give: a guess would be a label that is wrong in silence."""
        del given
        return []

    def with_files(self, folder: Path) -> "Reader":
        """Returns the reader with what its fields name in files beside the card, such as class names."""
        del folder
        return self

    def constants(self, folder: Path, view: Size) -> dict[str, np.ndarray]:
        """Returns arrays that are no outputs of the model and that `read` needs, such as anchors."""
        del folder, view
        return {}

    def regular(self, arrays: Arrays, single: bool) -> Arrays:
        """Returns the model's arrays with the batch first, and of one shape for all batches.

        Args:
          arrays: what it gave, by role; of a single image, the batch may be missing.
          single: whether the model sees one image at a time.
        """
        del single
        return arrays

    def finite(self, arrays: Arrays, batch: int) -> np.ndarray:
        """Returns for which images a model gave finite values alone, bool [batch]; before `regular`."""
        found = np.ones(batch, bool)
        for array in arrays.values():
            good = np.isfinite(array if array.shape[:1] == (batch,) else array[np.newaxis])
            found &= good.reshape(len(good), -1).all(1)
        return found

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Returns arrays in float32, maps as [batch, h, w, C].

        Args:
          arrays: by role, after `regular`.
          channels_first: whether maps of four axes are [batch, C, h, w].
        """
        return {role: _standard(array, self.form(role), channels_first) for role, array in arrays.items()}

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Returns what is wrong with the shapes of the model's arrays; None where they fit the card."""
        for role, array in arrays.items():
            form = self.form(role)
            if array.ndim not in form.ranks or array.shape[0] != batch:
                axes = " or ".join(str(rank) for rank in form.ranks)
                shape = list(array.shape)
                return f"outputs: {role}: shape {shape} for {batch} images; {axes} axes expected, batch first"
            given = _standard(array, form, channels_first).shape[-1]
            if form.last and given != form.last and (problem := self.wrong_last(role, list(array.shape), given)):
                return problem
        return None

    def wrong_last(self, role: str, shape: list[int], given: int) -> str | None:
        """Returns what is wrong where the last axis of a role is not of the size in its form; None where it may be."""
        del given
        return f"outputs: {role}: shape {shape}; the last axis (channels) must be {self.form(role).last}"

    def unlikely(self, arrays: Arrays) -> str | None:
        """Returns what speaks against the card in the arrays of a gray image, in standard form; None for nothing."""
        del arrays
        return None

    @classmethod
    @abc.abstractmethod
    def likeness(cls, outputs: Sequence[Slot]) -> int:
        """Returns how much a model's outputs look like those of this kind: 0 not at all, 1 perhaps, 2, 3 surely."""

    @classmethod
    @abc.abstractmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Returns the lines of a draft of a card that belong to the kind, in YAML, with guesses marked.

        Args:
          outputs: of the model.
          known: fields of the card that the model itself says, which need no line.
        """


def require(good: bool, field: str, value: Any, expected: str) -> None:
    """Raises the ValueError of a field that cannot be so."""
    if not good:
        given = list(value) if isinstance(value, tuple) else value
        raise ValueError(f"{field}: {given} received; expected {expected}")


def positive(value: float) -> bool:
    """Whether a number is above 0 and finite."""
    return 1e-30 < value < 1e30


def channels_of(slot: Slot) -> int | None:
    """Returns the channels of a map: the smaller one of the second and the last axis, 1 without such an axis."""
    if len(slot.shape) == 3:
        return 1
    sizes = [size for size in (slot.shape[1], slot.shape[-1]) if size]
    return min(sizes) if sizes else None


def output_lines(roles: Mapping[str, str], known: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a draft that give outputs to roles; none where the model says it."""
    if "outputs" in known:
        return []
    return ["outputs:"] + [f"  {role}: {json.dumps(name)}  {GUESS}" for role, name in roles.items()]


def _standard(array: np.ndarray, form: Form, channels_first: bool) -> np.ndarray:
    array = array.astype(np.float32)
    if not form.is_map:
        return array
    if array.ndim == 3:
        return array[..., np.newaxis]
    return array.transpose(0, 2, 3, 1) if channels_first else array
