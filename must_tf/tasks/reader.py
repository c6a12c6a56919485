"""Contract of readers: they convert the outputs of a foreign model to those of a task, as a teacher card says.

Each kind has one reader: a frozen dataclass whose fields are the kind's own card fields. Readers do not depend on the
format of a model file, and formats do not depend on a kind.
"""

import abc
import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from must_tf.geometry import Size

Arrays = Mapping[str, np.ndarray]

GUESS = "# guess"  # marks a line of a draft card that a person must check
CHOOSE = "choose: "  # begins a value of a draft card that a person must replace; a card that has one is refused


class Slot(NamedTuple):
    """One input or output of a model.

    Attributes:
      name: the name in the model file.
      shape: size of each axis, with the batch first if there is one; None for an axis of any size.
      dtype: numpy's name of the type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def batched(self) -> "Slot":
        """Returns the slot with a batch axis of 1 added if it has three axes (one image without a batch)."""
        return self._replace(shape=(1, *self.shape)) if len(self.shape) == 3 else self

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"


class Form(NamedTuple):
    """The shape that the array of a role is required to have.

    Attributes:
      ranks: allowed numbers of axes, including the batch.
      last: size of the last axis in standard form (see `Reader.standard`); 0 for any size.
      is_map: whether it is a dense map: four axes in the card's layout, or [batch, h, w] with one channel.
    """

    ranks: tuple[int, ...]
    last: int = 0
    is_map: bool = False


@dataclasses.dataclass(frozen=True)
class Reader(abc.ABC):
    """The card fields of one kind, and how to read outputs by them. None means that the card does not give the field.

    `__post_init__` raises a ValueError, `FIELD: problem`, for invalid values.

    Attributes:
      either: pairs of fields that say the same thing, of which a card gives one.
    """

    either: ClassVar[tuple[tuple[str, str], ...]] = ()

    @abc.abstractmethod
    def task_fields(self) -> dict[str, Any]:
        """Returns the fields of the task that the labels belong to, except its name."""

    @abc.abstractmethod
    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """Returns the roles that need an output, and the optional ones.

        Args:
          given: the roles in this card's `outputs`.
        """

    @abc.abstractmethod
    def form(self, role: str) -> Form:
        """Returns the required shape of the array of a role, after `regular`."""

    @abc.abstractmethod
    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """Returns the arrays of `Task.decode_predictions`, in numpy.

        Args:
          arrays: float32 arrays by role in standard form (see `standard`), and those of `constants`.
          view: height and width of the model's input images, in pixels.
        """

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the model's classes that become no label."""
        return ()

    def needed(self, given: Collection[str]) -> list[str]:
        """Returns the fields that the card must give; a wrong default would make labels wrong without an error."""
        del given
        return []

    def with_files(self, folder: Path) -> "Reader":
        """Returns the reader with the contents of the files that its fields name, such as class names.

        Args:
          folder: of the card; file names are relative to it.

        Raises:
          UserError: a file does not exist or cannot be read.
          ValueError: its contents are invalid; `FIELD: problem`.
        """
        del folder
        return self

    def misfit_of_model(self, sha256: str) -> str | None:
        """Returns why the fields are not those of a model; None if they may be.

        Args:
          sha256: of the model.
        """
        del sha256
        return None

    def constants(self, folder: Path, view: Size) -> dict[str, np.ndarray]:
        """Returns arrays that `read` needs and that are not outputs of the model, such as anchors."""
        del folder, view
        return {}

    def regular(self, arrays: Arrays, batch: int, single: bool) -> Arrays:
        """Returns the model's arrays with the batch axis first and with the same shape for every batch.

        Args:
          arrays: outputs by role; the batch axis may be missing if the model takes one image.
          batch: number of images.
          single: whether the model takes one image at a time.
        """
        del batch, single
        return arrays

    def finite(self, arrays: Arrays, batch: int) -> np.ndarray:
        """Returns for which images all output values are finite, bool [batch].

        Args:
          arrays: outputs by role, before `regular`.
          batch: number of images.
        """
        found = np.ones(batch, bool)
        for array in arrays.values():
            finite = is_finite(array, batch)
            found &= finite.reshape(len(finite), -1).all(1)
        return found

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Returns the arrays in standard form: float32, with maps as [batch, h, w, C].

        Args:
          arrays: outputs by role, after `regular`.
          channels_first: whether maps of four axes are [batch, C, h, w].
        """
        return {role: _standard(array, self.form(role), channels_first) for role, array in arrays.items()}

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Returns what is wrong with the shapes of the model's arrays; None if they fit the card.

        Args:
          arrays: outputs by role, after `regular`, and those of `constants`.
          batch: number of images.
          channels_first: whether maps of four axes are [batch, C, h, w].
        """
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
        """Returns what is wrong if a role's last axis differs from its form; None if that size is allowed, too.

        Args:
          role: of the array.
          shape: of the array as the model gives it.
          given: size of the last axis in standard form.
        """
        del given
        return f"outputs: {role}: shape {shape}; the last axis (channels) must be {self.form(role).last}"

    def unlikely(self, arrays: Arrays, view: Size) -> str | None:
        """Returns how the outputs for gray images contradict the card; None if they do not.

        Args:
          arrays: outputs by role, in standard form.
          view: size of the view.
        """
        del arrays, view
        return None

    def impossible(self, arrays: Arrays) -> str | None:
        """Returns how the outputs for images that are to be labeled contradict the card; None if they do not.

        It holds for any image: what is only unlikely on gray does not belong here.

        Args:
          arrays: outputs by role, in standard form, of images of which all values are finite.
        """
        del arrays
        return None

    def doubt(self, run: Callable[[], Arrays]) -> str | None:
        """Returns why the model's outputs are hardly what the card says, in one line; None if nothing tells so.

        It is a warning: `unlikely` refuses.

        Args:
          run: returns the outputs by role, in standard form, for images without content: gray, white, noise, black and
            colors. It runs the model, so that it is called only if there is something to look for.
        """
        del run
        return None

    @classmethod
    @abc.abstractmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """Returns how likely these outputs belong to a model of this kind, from 0 (not at all) to 3 (certain).

        Args:
          outputs: the model's outputs, in the order of its file: what tells the kind may be any of them.
          names: those of the model's file and of its images, in lower case, which may tell the kind, too.
        """

    @classmethod
    @abc.abstractmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Returns the kind's lines of a draft card, in YAML, with guesses marked.

        Args:
          outputs: the model's outputs.
          known: card fields that the model itself defines; they need no line.
        """


def require(good: bool, field: str, value: Any, expected: str) -> None:
    """Raises a ValueError, `FIELD: VALUE received; expected ...`, unless `good`."""
    if not good:
        given = list(value) if isinstance(value, tuple) else value
        raise ValueError(f"{field}: {given} received; expected {expected}")


def positive(value: float) -> bool:
    """Whether a number is above 0 and finite."""
    return 1e-30 < value < 1e30


def is_finite(array: np.ndarray, batch: int) -> np.ndarray:
    """Returns which values are finite, bool [batch, ...]; the batch axis is added if the array lacks it."""
    return np.isfinite(array if array.shape[:1] == (batch,) else array[np.newaxis])


def channels_of(slot: Slot) -> int | None:
    """Guesses the channels of a map: its axis beside two equal ones, or else the smaller of its second and last axes.

    A map of three axes has one channel.
    """
    if len(slot.shape) == 3:
        return 1
    second, between, last = slot.shape[1:]
    if between and second != last and between in (second, last):
        return last if between == second else second
    sizes = [size for size in (second, last) if size]
    return min(sizes) if sizes else None


def choose(*readings: str) -> str:
    """Returns a value of a draft card, in YAML, of what may be meant; the card is refused until one is chosen."""
    return json.dumps(CHOOSE + ", or ".join(readings))


def output_lines(roles: Mapping[str, str], known: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a draft card that assign outputs to roles; none if the model itself defines them."""
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
