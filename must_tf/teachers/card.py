"""Teacher cards: small YAML or JSON files that describe the inputs and outputs of a model."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from must_tf.errors import UserError, nearest
from must_tf.parsing import parse, read_yaml, short
from must_tf.tasks import kind_of, kinds
from must_tf.tasks.reader import CHOOSE, Reader, positive, require
from must_tf.teachers.spec import CARD_SUFFIXES

_WIDE = 100  # from which a range is that of pixel values, of which no standard deviation is below 1
_MAX_SIDE = 8192  # pixels of a side
_CHANNELS = {"RGB": 3, "BGR": 3, "gray": 1, "RGBA": 4, "BGRA": 4}


@dataclasses.dataclass(frozen=True)
class Input:
    """Card fields of all kinds: the model's input, the names of its outputs, its license and source.

    An image is prepared in this order: uint8 RGB at `input_size`, scaled to `range`, reordered to `channel_order`,
    minus `mean`, divided by `std`, transposed to `layout`, cast to `dtype`. A field that is None is taken from the
    model if the model defines it; otherwise its default below applies.

    Attributes:
      task: the kind of its labels, a key of `tasks.kinds()`.
      input_size: height and width in pixels; by default those of the model's input.
      resize: how an image is resized: `fit` (keeps the aspect ratio, top left, padded with black), `stretch`, or `crop`
        (keeps the aspect ratio, center; what is cut off is unknown in the labels); by default that of the model, or
        `stretch`.
      layout: NHWC or NCHW, of the input; without N if the model takes one image.
      output_layout: NHWC or NCHW, of outputs that are maps; by default that of the input.
      range: the values [low, high] of the pixel values 0 and 255; required for a float input.
      mean: subtracted from each channel, in units of `range` and in the model's channel order.
      std: divides each channel after that.
      channel_order: RGB, BGR, gray (one channel: the luma of ITU-R 601), RGBA or BGRA (opaque).
      dtype: of the input, as a check: float32, float16, uint8 or int8; by default that of the model.
      prompts: for a model that finds what a text says: the text of each class.
      signature: name of the signature of a SavedModel.
      inputs: maps the names of the model's inputs to what they are fed, if it has several: `image` for one of them, and
        for the others, which do not depend on the pixels, `height_width` or `width_height` (of the view, in pixels),
        `mask` (ones: every pixel belongs to the image), a number, or a list of numbers.
      outputs: maps roles, which the kind's reader defines, to names of outputs.
      license: license of the weights.
      source: where the weights come from, such as a URL.
    """

    task: str
    input_size: tuple[int, int] | None = None
    resize: Literal["fit", "stretch", "crop"] | None = None
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    output_layout: Literal["NHWC", "NCHW"] | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: Literal["RGB", "BGR", "gray", "RGBA", "BGRA"] = "RGB"
    dtype: Literal["float32", "float16", "uint8", "int8"] | None = None
    prompts: Mapping[str, str] | None = None
    signature: str = "serving_default"
    inputs: Mapping[str, str | float | tuple[float, ...]] | None = None
    outputs: Mapping[str, str] | None = None
    license: str = "unknown"
    source: str = "unknown"

    def __post_init__(self) -> None:
        sides = self.input_size or (1, 1)
        good = all(1 <= side <= _MAX_SIDE for side in sides)
        require(good, "input_size", sides, f"height and width above 0, and {_MAX_SIDE} at most")
        for name in ("range", "mean"):
            value = getattr(self, name) or ()
            require(all(-1e30 < number < 1e30 for number in value), name, value, "finite numbers")
        if self.range:
            require(self.range[0] != self.range[1], "range", self.range, "two numbers that differ")
        for name in ("mean", "std"):
            value = getattr(self, name)
            fits = value is None or len(value) == self.num_channels
            require(fits, name, value, f"{self.num_channels} numbers, one for each channel")
        require(all(map(positive, self.std or ())), "std", self.std, "above 0, and finite")
        if self.range:
            low, high = sorted(self.range)
            within = all(low <= value <= high for value in self.mean or ())
            require(within, "mean", self.mean, f"values from {low:g} to {high:g}, in units of range")
            wide = high - low < _WIDE or all(value >= 1 for value in self.std or ())
            require(wide, "std", self.std, f"1 or more, in units of range, which is {low:g} to {high:g}")

    @property
    def num_channels(self) -> int:
        """The number of channels of the model's input."""
        return _CHANNELS[self.channel_order]


@dataclasses.dataclass(frozen=True)
class Card(Input):
    """A complete card: the fields of all kinds, and those of its kind.

    Attributes:
      reader: the fields of the kind, see the kind's `Reader`.
      path: the card's file, for messages.
    """

    reader: Reader = None  # type: ignore[assignment]
    path: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the card; files that the card names are relative to it."""
        return Path(self.path).parent

    @property
    def channels_first(self) -> bool:
        """Whether outputs that are maps are [batch, C, h, w]."""
        return (self.output_layout or self.layout) == "NCHW"

    def error(self, problem: str) -> UserError:
        """Returns a `UserError` whose message begins with the card's file."""
        return UserError(f"{self.path or 'card'}: {problem}")

    def filled(self, known: Mapping[str, Any]) -> "Card":
        """Returns the card with its fields that are None filled from `known`, fields that the model defines.

        Raises:
          UserError: the fields of both do not go together.
        """
        of_input = {name: value for name, value in known.items() if getattr(self, name, self) is None}
        of_kind = {name: value for name, value in known.items() if getattr(self.reader, name, self) is None}
        try:
            return dataclasses.replace(self, **of_input, reader=dataclasses.replace(self.reader, **of_kind))
        except ValueError as error:
            raise self.error(str(error)) from None

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that differ from their defaults, as JSON values; of a file's contents what these say."""
        values = {}
        for part in (self, self.reader):
            for field in dataclasses.fields(part):
                if field.name not in ("reader", "path") and getattr(part, field.name) != field.default:
                    values[field.name] = getattr(part, field.name)
        return json.loads(json.dumps(values, default=lambda contents: contents.to_json()))


def read_card(path: str | os.PathLike | None, others: Mapping[str, Any] | None = None, flag: str = "--cards") -> Card:
    """Reads a card from a file.

    Args:
      path: the file; None if `others` holds all fields.
      others: fields that replace those of the file, as JSON values.
      flag: where the fields come from if there is no file, for messages.

    Raises:
      UserError: the file does not exist or is not YAML or JSON, or a kind or field is unknown or invalid.
    """
    return make_card(read_fields(path, others), flag if path is None else str(path))


def read_fields(path: str | os.PathLike | None, others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the fields of a card as JSON values, which are not checked yet; see `read_card`."""
    value = {} if path is None else read_yaml(path)
    if not isinstance(value, dict):
        raise _no_fields(path)
    return replaced(value, others or {})


def replaced(value: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a card with others in their place; one of `others` also replaces what says the same thing.

    Args:
      value: fields of a card.
      others: fields that replace them, such as a `class_names_file`, which replaces `class_names`, too.
    """
    given = {name for name, part in others.items() if part}
    gone = {
        name
        for kind in kinds().values()
        if kind.reader
        for pair in kind.reader.either
        if given & {*pair}
        for name in pair
    }
    return {name: part for name, part in value.items() if name not in gone} | dict(others)


def make_card(value: Any, where: str = "card") -> Card:
    """Makes a checked card from JSON values.

    Args:
      value: fields of a card.
      where: the card's file, for messages; files that the card names are relative to its folder.

    Raises:
      UserError: the kind or a field is unknown or invalid, or the kind has no foreign teachers.
    """
    if not isinstance(value, Mapping) or "task" not in value:
        raise _no_fields(where)
    kind = kind_of(value["task"], f"{where}: task")
    if kind.reader is None:
        raise UserError(f"{where}: task: {value['task']} has no foreign teachers; give it a student")
    of_input, of_kind = _names(Input), _names(kind.reader)
    _check_chosen(value, where)
    for one, other in kind.reader.either:
        if value.get(one) and value.get(other):
            raise UserError(f"{where}: {one}: received together with {other}; give one of them")
    for name, given in value.items():
        if name not in of_input | of_kind:
            others = [other for other, task in kinds().items() if task.reader and name in _names(task.reader)]
            hint = f"it is of {', '.join(others)}" if others else nearest(str(name), of_input | of_kind)
            if given is not None or not others:
                raise UserError(f"{where}: field {short(name)} is unknown in a card of {value['task']}; {hint}")
    fields: Input = parse(Input, {name: part for name, part in value.items() if name in of_input}, where)
    reader: Reader = parse(kind.reader, {name: part for name, part in value.items() if name in of_kind}, where)
    values = {field.name: getattr(fields, field.name) for field in dataclasses.fields(Input)}
    return Card(**values, reader=_with_files(reader, Path(where).parent, where), path=where)


def find_card(where: str, path: str, need: bool = True) -> str | None:
    """Returns the path of the card beside a model: the model's full name with `.card.yaml` or `.card.json`.

    Args:
      where: `FORMAT:PATH`, for messages.
      path: of the model.
      need: whether a missing card is a `UserError`; otherwise None is returned.
    """
    base = str(Path(path))
    for suffix in CARD_SUFFIXES:
        if Path(base + suffix).is_file():
            return base + suffix
    if not need:
        return None
    raise UserError(
        f"{where}: no card ({base}{CARD_SUFFIXES[0]}, or --cards=TASK=FILE); for a draft run: "
        f"must label --describe={where}"
    )


def _no_fields(where: Any) -> UserError:
    return UserError(f"{where}: expected the fields of a teacher card, `task` among them; see must label --describe")


def _check_chosen(value: Any, where: str, field: str = "") -> None:
    """Raises a `UserError` if a value is still one of a draft that names several readings."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            _check_chosen(part, where, f"{field}.{name}" if field else str(name))
    elif isinstance(value, str) and value.startswith(CHOOSE):
        raise UserError(f"{where}: {field}: not decided; choose {value.removeprefix(CHOOSE)}")


def _names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _with_files(reader: Reader, folder: Path, where: str) -> Reader:
    try:
        return reader.with_files(folder)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
