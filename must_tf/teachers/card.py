"""The teacher card: a small YAML or JSON file that says what a model expects and gives."""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, nearest

SUFFIXES = (".card.yaml", ".card.json")


@dataclasses.dataclass(frozen=True)
class Card:
    """What a model expects and gives. What is None is taken from the model where that says it, else as written here.

    Images reach the model as: uint8 RGB at `input_size` → `range` → `channel_order` → minus `mean`, over `std` →
    `layout` → `dtype`.

    Attributes:
      task: the kind of its labels: classification, detection, segmentation, depth or normals.
      class_names: the model's classes in the order of its ids, without a background class that is no label.
      class_names_file: the same, one a line; a path beside the card.
      classes: model class → task class, for labels in another task's classes; classes that are left out are dropped.
      task_classes: with `classes`: the task's classes in their order; by default those named in `classes`.
      min_score: score that a box, or a pixel's class, must have to become a label.
      doubtful_score: of detection: score from which on a box below `min_score` is ignored in training; 1 ignores none.
      top_k: how many probabilities a stored classification keeps; 0 keeps all.
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
      outputs: role → name of the output. The roles, by task:
        classification: probs [batch, classes].
        segmentation: probs [batch, h, w, classes] (one channel and two classes: that of the second), or
          mask [batch, h, w], class ids.
        depth: depth [batch, h, w] or [batch, h, w, 1].
        normals: normals [batch, h, w, 3].
        detection: boxes [batch, N, 4] and scores [batch, N, classes]; after suppression boxes, scores [batch, N],
          classes [batch, N] and, where there is one, count [batch]; or packed, all three in one array
          [batch, N, 6]. From a model of one image, the batch may be missing ([N, 4], [N, 6]) and N vary.
      packed_order: of the parts of a row of `packed`: box (four values, see `box_format`), score and class.
      activation: what `probs` or `scores` are: probabilities, logits (they need a softmax) or sigmoid (they need one).
      background_first: whether the model's class 0 is a background that is not in `class_names`.
      suppressed: whether boxes are after non-maximum suppression.
      nms_iou: overlap in (0, 1] above which the weaker box goes, where the model does not suppress.
      box_format: yxyx, xyxy (corners), xywh (top left corner and size), cxcywh or cycxhw (center and size).
      box_units: normalized (fractions of the view) or pixels (of the view).
      anchors_file: .npy, .csv or .json of anchors [N, 4] (cycxhw, fractions of the view); a path beside the card.
        With anchors, boxes are offsets, in the order of `box_format` (cxcywh or cycxhw).
      anchors: parameters of generated anchors: with `strides` those of `SsdAnchors`, with `levels` of
        `RetinaNetAnchors`.
      box_scales: divisors of the offsets of y, x, height and width.
      box_log_sizes: whether the offsets of height and width are logarithms; a plain factor on the anchor's else.
      convention: of depth: metric (meters) or affine_inverse (inverse depth up to scale and shift).
      inverse: whether the output is inverse depth; by default where `convention` is affine_inverse.
      depth_scale: meters in one unit of a metric output (of 1 / an inverse one).
      max_depth: where an inverse is taken, values beyond this many units become this one.
      normals_axes: signs of the output's x, y and z that make them right, down and away from the camera.
      license: of the weights.
      source: where they come from.
      path: of the card itself; not a field of the file.
    """

    task: str
    class_names: tuple[str, ...] = ()
    class_names_file: str | None = None
    classes: Mapping[str, str] | None = None
    task_classes: tuple[str, ...] = ()
    min_score: float = 0.5
    doubtful_score: float = 1.0
    top_k: int = 0
    input_size: tuple[int, int] | None = None
    resize: str | None = None
    layout: str = "NHWC"
    output_layout: str | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str = "RGB"
    dtype: str | None = None
    signature: str = "serving_default"
    outputs: Mapping[str, str] | None = None
    packed_order: tuple[str, ...] = ("box", "score", "class")
    activation: str | None = None
    background_first: bool = False
    suppressed: bool | None = None
    nms_iou: float = 0.5
    box_format: str | None = None
    box_units: str | None = None
    anchors_file: str | None = None
    anchors: Mapping[str, Any] | None = None
    box_scales: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)
    box_log_sizes: bool = True
    convention: str | None = None
    inverse: bool | None = None
    depth_scale: float = 1.0
    max_depth: float = 1000.0
    normals_axes: tuple[float, ...] = (1.0, 1.0, 1.0)
    license: str = "unknown"
    source: str = "unknown"
    path: str = ""

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise self.error(f"{name}: {value!r} received; expected one of {', '.join(choices)}")
        for name, (length, is_kind) in _LISTS.items():
            value = getattr(self, name)
            if value is not None and not (len(value) == length and all(map(is_kind, value))):
                raise self.error(f"{name}: {list(value)} received; expected {length} numbers")
        for name, (fits, words) in _BOUNDS.items():
            value = getattr(self, name)
            many = isinstance(value, list | tuple)
            if value is not None and not all(map(fits, value if many else [value])):
                raise self.error(f"{name}: {list(value) if many else value} received; expected {words}")
        if self.range is not None and self.range[0] == self.range[1]:
            raise self.error(f"range: {list(self.range)} received; expected two numbers that differ")
        if sorted(map(str, self.packed_order)) != ["box", "class", "score"]:
            raise self.error(
                f"packed_order: {list(self.packed_order)} received; expected box, score and class, ordered"
            )
        if self.task in _WITH_CLASSES and not self.class_names:
            raise self.error(f"class_names: none received; a teacher of {self.task} has class names")
        self._check_classes()

    def _check_classes(self) -> None:
        """Checks that the mapping is from the model's classes, and onto the task's."""
        for name, known in (("class_names", self.class_names), ("task_classes", self.task_classes)):
            if len(set(known)) < len(known):
                twice = next(label for label in known if known.count(label) > 1)
                raise self.error(f"{name}: {twice!r} is there twice")
        if self.classes is not None and not self.classes:
            raise self.error("classes: none received; leave the field out, and the model's classes are the task's")
        for theirs, ours in (self.classes or {}).items():
            if theirs not in self.class_names:
                raise self.error(f"classes: the model has no class {theirs!r}; {nearest(theirs, self.class_names)}")
            if self.task_classes and ours not in self.task_classes:
                raise self.error(f"classes: {ours!r} is not in task_classes; {nearest(ours, self.task_classes)}")

    def error(self, problem: str) -> UserError:
        """Returns the error that names the card's file."""
        return UserError(f"{self.path or 'card'}: {problem}")

    def beside(self, name: str) -> Path:
        """Returns where a file lies that the card names."""
        return Path(self.path).parent / name

    def filled(self, known: Mapping[str, Any]) -> "Card":
        """Returns the card with what it does not say taken from the model."""
        return dataclasses.replace(self, **{name: v for name, v in known.items() if getattr(self, name) is None})

    def to_json(self) -> dict[str, Any]:
        """Returns what the card says that is not a default, as JSON values."""
        fields = [(field, getattr(self, field.name)) for field in dataclasses.fields(self) if field.name != "path"]
        return json.loads(json.dumps({field.name: value for field, value in fields if value != field.default}))


_WITH_CLASSES = ("classification", "detection", "segmentation")
_LAYOUTS = ("NHWC", "NCHW")
_CHOICES: dict[str, tuple[Any, ...]] = {
    "task": (*_WITH_CLASSES, "depth", "normals"),
    "resize": ("fit", "stretch", "crop"),
    "layout": _LAYOUTS,
    "output_layout": _LAYOUTS,
    "channel_order": ("RGB", "BGR"),
    "dtype": ("float32", "float16", "uint8", "int8"),
    "activation": ("probabilities", "logits", "sigmoid"),
    "box_format": ("yxyx", "xyxy", "xywh", "cxcywh", "cycxhw"),
    "box_units": ("normalized", "pixels"),
    "convention": ("metric", "affine_inverse"),
}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)


_LISTS: dict[str, tuple[int, Callable[[Any], bool]]] = {
    "input_size": (2, _is_whole),
    "range": (2, _is_number),
    "mean": (3, _is_number),
    "std": (3, _is_number),
    "box_scales": (4, _is_number),
    "normals_axes": (3, _is_number),
}
_SHARE = (lambda value: 0 <= value <= 1, "a number from 0 to 1")
_POSITIVE = (lambda value: 1e-30 < value < 1e30, "above 0, and finite")
_FINITE = (lambda value: -1e30 < value < 1e30, "finite numbers")
_BOUNDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "min_score": _SHARE,
    "doubtful_score": _SHARE,
    "top_k": (lambda value: value >= 0, "0 or more"),
    "input_size": (lambda value: value >= 1, "height and width above 0"),
    "range": _FINITE,
    "mean": _FINITE,
    "std": _POSITIVE,
    "nms_iou": (lambda value: 0 < value <= 1, "above 0, and at most 1"),
    "box_scales": _POSITIVE,
    "depth_scale": _POSITIVE,
    "max_depth": _POSITIVE,
    "normals_axes": (lambda value: abs(value) == 1, "1 or -1 for each axis"),
}
_FIELDS = {field.name: field for field in dataclasses.fields(Card) if field.name != "path"}
_KINDS: dict[Any, tuple[Any, str]] = {
    tuple: (list, "a list"),
    Mapping: (dict, "names with values"),
    str: (str, "text"),
    float: ((int, float), "a number"),
    int: (int, "a whole number"),
    bool: (bool, "true or false"),
}


def read_card(path: str | os.PathLike | None, others: Mapping[str, Any] | None = None) -> Card:
    """Reads a card.

    Args:
      path: its file; None where `others` say all.
      others: fields in place of the file's, as JSON values.

    Raises:
      UserError: no such file; not YAML or JSON; an unknown field or a value that cannot be, named.
    """
    value = {} if path is None else _parse(path, _read_text(Path(path), "no such file"))
    path = "--cards" if path is None else path
    if isinstance(value, dict):
        value |= others or {}
    if not isinstance(value, dict) or "task" not in value:
        raise UserError(f"{path}: expected the fields of a teacher card, `task` among them; see must label --describe")
    for name, given in value.items():
        if name not in _FIELDS:
            raise UserError(f"{path}: field {name!r} is unknown; {nearest(str(name), _FIELDS)}")
        _check_kind(path, name, given)
    fields: dict[str, Any] = {name: tuple(given) if isinstance(given, list) else given for name, given in value.items()}
    if names := fields.get("class_names_file"):
        fields["class_names"] = _read_names(Path(path).parent / names)
    return Card(**fields, path=str(path))


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


def _read_text(path: Path, missing: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: {missing}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None


def _parse(path: str | os.PathLike, text: str) -> Any:
    import yaml

    try:
        return json.loads(text) if str(path).endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not valid YAML or JSON: {' '.join(str(error).split())}") from None


def _check_kind(path: str | os.PathLike, name: str, given: Any) -> None:
    """Checks that a value is of the kind that its field has."""
    annotation = _FIELDS[name].type
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    kind, words = _KINDS[typing.get_origin(parts[0]) or parts[0]]
    if given is None and type(None) in parts:
        return
    if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
        raise UserError(f"{path}: {name}: {given!r} received; expected {words}")
    texts = given if name in ("class_names", "task_classes") else ()
    if name in ("classes", "outputs"):
        texts = [*given, *given.values()]
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"{path}: {name}: {text!r} received; expected text: put it in quotes")


def _read_names(path: Path) -> tuple[str, ...]:
    lines = _read_text(path, "no such file; class_names_file is looked for beside the card").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
