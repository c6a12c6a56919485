"""The teacher card: a small YAML or JSON file that says what a model expects and gives."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from must_tf.errors import UserError, nearest
from must_tf.parsing import parse, read_yaml, short
from must_tf.tasks import KINDS, kind_of
from must_tf.tasks.reader import Reader, positive, require

SUFFIXES = (".card.yaml", ".card.json")
_LARGEST = 8192  # pixels of a side


@dataclasses.dataclass(frozen=True)
class Input:
    """Fields of every card: the input of a model, its outputs' names, and where it comes from.

    Images reach the model as: uint8 RGB at `input_size` → `range` → `channel_order` → minus `mean`, over `std` →
    `layout` → `dtype`. What is None is taken from the model where that says it, else as written here.

    Attributes:
      task: the kind of its labels: classification, detection, segmentation, depth, normals, ...
      input_size: height and width in pixels; by default that of the model.
      resize: how an image reaches that size: fit (aspect kept, top left, padded black), stretch, or crop (the middle);
        by default as the model says, else stretch.
      layout: NHWC or NCHW, of the input; a model of one image has no N.
      output_layout: NHWC or NCHW, of outputs that are maps; by default that of the input.
      range: the values [low, high] that the pixel values 0 and 255 become; must be given for a float input.
      mean: subtracted from each channel, in units of `range` and in the model's channel order.
      std: divides each channel after that.
      channel_order: RGB or BGR.
      dtype: of the input, as a check: float32, float16, uint8 or int8; by default that of the model.
      signature: of a SavedModel.
      outputs: role → name of the output; the roles are those of the kind's reader.
      license: of the weights.
      source: where they come from.
    """

    task: str
    input_size: tuple[int, int] | None = None
    resize: Literal["fit", "stretch", "crop"] | None = None
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    output_layout: Literal["NHWC", "NCHW"] | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channel_order: Literal["RGB", "BGR"] = "RGB"
    dtype: Literal["float32", "float16", "uint8", "int8"] | None = None
    signature: str = "serving_default"
    outputs: Mapping[str, str] | None = None
    license: str = "unknown"
    source: str = "unknown"

    def __post_init__(self) -> None:
        sides = self.input_size or (1, 1)
        good = all(1 <= side <= _LARGEST for side in sides)
        require(good, "input_size", sides, f"height and width above 0, and {_LARGEST} at most")
        for name in ("range", "mean"):
            value = getattr(self, name) or ()
            require(all(-1e30 < number < 1e30 for number in value), name, value, "finite numbers")
        if self.range:
            require(self.range[0] != self.range[1], "range", self.range, "two numbers that differ")
        require(all(map(positive, self.std or ())), "std", self.std, "above 0, and finite")


@dataclasses.dataclass(frozen=True)
class Card(Input):
    """A whole card: the fields of every card, and those of its kind.

    Attributes:
      reader: the fields of the kind, see the kind's `Reader`.
      path: of the file, for messages.
    """

    reader: Reader = None  # type: ignore[assignment]
    path: str = ""

    @property
    def folder(self) -> Path:
        """Where files lie that the card names."""
        return Path(self.path).parent

    @property
    def channels_first(self) -> bool:
        """Whether outputs that are maps are [batch, C, h, w]."""
        return (self.output_layout or self.layout) == "NCHW"

    def error(self, problem: str) -> UserError:
        """Returns the error that names the card's file."""
        return UserError(f"{self.path or 'card'}: {problem}")

    def filled(self, known: Mapping[str, Any]) -> "Card":
        """Returns the card with what it does not say taken from the model."""
        own = {name: value for name, value in known.items() if getattr(self, name, self) is None}
        of_kind = {name: value for name, value in known.items() if getattr(self.reader, name, self) is None}
        return dataclasses.replace(self, **own, reader=dataclasses.replace(self.reader, **of_kind))

    def to_json(self) -> dict[str, Any]:
        """Returns what the card says that is not a default, as JSON values."""
        said = {}
        for part in (self, self.reader):
            for field in dataclasses.fields(part):
                if field.name not in ("reader", "path") and getattr(part, field.name) != field.default:
                    said[field.name] = getattr(part, field.name)
        return json.loads(json.dumps(said))


def read_card(path: str | os.PathLike | None, others: Mapping[str, Any] | None = None) -> Card:
    """Reads a card.

    Args:
      path: its file; None where `others` say all.
      others: fields in place of the file's, as JSON values.

    Raises:
      UserError: no such file; not YAML or JSON; an unknown kind or field, or a value that cannot be, named.
    """
    value = {} if path is None else read_yaml(path)
    if isinstance(value, dict):
        value = value | dict(others or {})
    return make_card(value, "--cards" if path is None else str(path))


def make_card(value: Any, where: str = "card") -> Card:
    """Returns the card of JSON values.

    Args:
      value: fields of a card.
      where: its file, for messages; files that the card names lie beside it.
    """
    if not isinstance(value, Mapping) or "task" not in value:
        raise UserError(f"{where}: expected the fields of a teacher card, `task` among them; see must label --describe")
    kind = kind_of(value["task"], f"{where}: task")
    if kind.reader is None:
        raise UserError(f"{where}: task: {value['task']} has no foreign teachers; give it a student")
    own, of_kind = _names(Input), _names(kind.reader)
    for name, given in value.items():
        if name not in own | of_kind:
            others = [other for other, one in KINDS.items() if one.reader and name in _names(one.reader)]
            hint = f"it is of {', '.join(others)}" if others else nearest(str(name), own | of_kind)
            if given is not None or not others:
                raise UserError(f"{where}: field {short(name)} is unknown in a card of {value['task']}; {hint}")
    fields: Input = parse(Input, {name: part for name, part in value.items() if name in own}, where)
    reader: Reader = parse(kind.reader, {name: part for name, part in value.items() if name in of_kind}, where)
    said = {field.name: getattr(fields, field.name) for field in dataclasses.fields(Input)}
    return Card(**said, reader=_with_files(reader, Path(where).parent, where), path=where)


def find_card(where: str, path: str, need: bool = True) -> str | None:
    """Returns the card that lies beside a model under the model's whole name and `.card.yaml` or `.card.json`.

    Without one, None, or a `UserError` where there is need of it.
    """
    base = str(Path(path))
    for suffix in SUFFIXES:
        if Path(base + suffix).is_file():
            return base + suffix
    if not need:
        return None
    raise UserError(
        f"{where}: no card ({base}{SUFFIXES[0]}, or --cards=TASK=FILE); for a draft run: must label --describe={where}"
    )


def _names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _with_files(reader: Reader, folder: Path, where: str) -> Reader:
    try:
        return reader.with_files(folder)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
