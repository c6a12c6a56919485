"""Reads card fields from inside or beside a model file: ultralytics' metadata, Hugging Face's configs, label files."""

import ast
import dataclasses
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, one_line
from must_tf.parsing import parse, read_object, read_yaml, short
from must_tf.tasks.classes import is_hole, names_by_id, read_names
from must_tf.teachers.model import Model

CONVENTIONS = {"relative": "affine_inverse", "metric": "metric"}  # of depth, by `depth_estimation_type`

_TASKS = {
    "detect": "detection", "segment": "detection", "pose": "detection", "classify": "classification",
    "semantic": "segmentation",
}  # fmt: skip
_YOLOV5 = {  # its classifiers; later ones end with a softmax
    "activation": "logits", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
_HEADS = {
    "ForImageClassification": "classification",
    "ForObjectDetection": "detection",
    "ForSegmentation": "detection",  # of instances, with boxes
    "ForSemanticSegmentation": "segmentation",
    "ForDepthEstimation": "depth",
}
_MASK_QUERIES = ("Mask2Former", "MaskFormer", "OneFormer")
_ROTATED = "obb"  # ultralytics' task of rotated boxes
_METADATA = "metadata.json"  # of ultralytics, inside a .tflite file; in older ones a text file has them
_MOST_BYTES = 1_000_000  # of a label file


def facts_of(model: Model) -> tuple[dict[str, Any], list[str]]:
    """Returns card fields that files say of a model; and in words what was read, and what could not be read and why."""
    fields, notes = dict(model.facts), list[str]()
    for read in (_ultralytics, _config, _preparation, _labels):
        fields = {**read(model, notes), **fields}
    return fields, notes


def _ultralytics(model: Model, notes: list[str]) -> dict[str, Any]:
    """Reads metadata in an ONNX or .tflite file, or metadata.yaml in the folder of a SavedModel."""
    metadata: Mapping[str, Any] = model.metadata or _packed_metadata(Path(model.path))
    metadata = metadata or _file(Path(model.path) / "metadata.yaml", read_yaml, notes)
    names = _names(metadata, "names", "metadata", notes)
    if not names:
        return {}
    notes.append("read: metadata of ultralytics")
    vector = "task" not in metadata and all(len(slot.shape) <= 2 for slot in model.outputs())  # YOLOv5 names no task
    task = str(metadata.get("task", "classify" if vector else "detect"))
    if task == _ROTATED:
        raise UserError(
            f"{model.format}:{model.path}: its metadata say task: {task}; no kind has rotated boxes, and without their "
            "angle they are wrong; take a model of the task detect or segment"
        )
    fields: dict[str, Any] = {"class_names": names, "range": [0, 1], "channel_order": "RGB"}
    if task in _TASKS:
        fields["task"] = _TASKS[task]
    size = _literal(metadata.get("imgsz"))
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size):
        fields["input_size"] = size
    if fields.get("task") in ("detection", "segmentation"):
        fields["resize"] = "fit"
    if fields.get("task") == "detection":
        fields |= {"box_units": "normalized"} if model.format == "litert" else {}
        options = _literal(metadata.get("args"))
        ended = [_literal(metadata.get("end2end")), options.get("nms") if isinstance(options, dict) else None]
        if "task" in metadata:  # of YOLOv5 there is none, and its heads are raw
            fields["suppressed"] = any(one is True for one in ended)
    elif fields.get("task") == "classification":
        fields |= _YOLOV5 if vector else {"activation": "probabilities", "multi_label": False}
        fields["resize"] = "crop"
    return fields | {
        name: str(metadata[key]) for name, key in (("license", "license"), ("source", "docs")) if key in metadata
    }


def _config(model: Model, notes: list[str]) -> dict[str, Any]:
    """Reads the config of a model of `transformers`: classes, task, activation, source."""
    path = _beside(model, "config.json")
    config = _file(path, read_object, notes)
    fields: dict[str, Any] = {}
    if names := _names(config, "id2label", path, notes):
        fields["class_names"] = names
    heads = config.get("architectures")
    for head in heads if isinstance(heads, list) else []:
        if str(head).startswith(_MASK_QUERIES):
            raise UserError(
                f"{path}: architectures: {head}: it gives a mask and classes for each query, which no card can put "
                "together; take the model as hf:FOLDER"
            )
        task = next((kind for ending, kind in _HEADS.items() if str(head).endswith(ending)), None)
        fields |= {"task": task} if task else {}
    if fields.get("task") == "classification" and config.get("problem_type") == "regression":
        raise UserError(f"{path}: problem_type: regression: the outputs of the model beside it are no classes")
    if fields.get("task") == "classification":
        multi_label = config.get("problem_type") == "multi_label_classification" or len(names) == 1
        fields["activation"] = "sigmoid" if multi_label else "logits"
    if fields.get("task") == "depth" and (convention := CONVENTIONS.get(str(config.get("depth_estimation_type")))):
        fields["convention"] = convention
    if config.get("_name_or_path"):
        fields["source"] = str(config["_name_or_path"])
    notes += ["read: config.json beside the file"] * bool(fields)
    return fields


_Sides = int | Mapping[str, int | float | None] | tuple[int, ...] | None  # a side, or sides by name or in order
_WARPED = 384  # side from which ConvNeXT's processor crops nothing


@dataclasses.dataclass(frozen=True)
class _Processor:
    """The fields that are read of an image processor of `transformers`, and their defaults."""

    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    rescale_offset: bool = False  # of EfficientNet: minus 1 after that
    do_normalize: bool | None = None  # MobileViT's, which may reverse the colors, has none, and a mean that it ignores
    do_flip_channel_order: bool | None = None
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()
    include_top: bool = False  # of EfficientNet: divided by `image_std` once more
    do_resize: bool = True
    size: _Sides = None
    max_size: int | None = None  # the longest side, in old files
    keep_aspect_ratio: bool = False  # of DPT: the sides are those of the result only if the image has their ratio
    do_center_crop: bool = False
    crop_size: _Sides = None
    crop_pct: float | None = None
    do_pad: bool = False
    pad_size: _Sides = None


def _preparation(model: Model, notes: list[str]) -> dict[str, Any]:
    """Reads the config of an image processor of `transformers`: how images are prepared."""
    path = _beside(model, "preprocessor_config.json")
    config = _file(path, read_object, notes)
    known = {field.name for field in dataclasses.fields(_Processor)}
    given = {name: value for name, value in config.items() if name in known and value is not None}
    try:
        processor = parse(_Processor, given, path)
    except UserError as error:
        notes.append(f"not read: {one_line(error)}")
        return {}
    notes += ["read: preprocessor_config.json beside the file"] * bool(config)
    return _prepared(processor) if config else {}


def _prepared(processor: _Processor) -> dict[str, Any]:
    """Returns the fields of the input that an image processor defines."""
    factor = processor.rescale_factor if processor.do_rescale else 1
    low = -1 if processor.do_rescale and processor.rescale_offset else 0
    high = low + (1 if abs(255 * factor - 1) < 1e-6 else 255 * factor)
    order = "BGR" if processor.do_flip_channel_order else "RGB"
    fields: dict[str, Any] = {"range": [low, high], "channel_order": order}
    normalizes = processor.do_flip_channel_order is None if processor.do_normalize is None else processor.do_normalize
    divisions = int(normalizes) + int(processor.include_top)
    if divisions and processor.image_mean and processor.image_std:
        fields |= {"mean": [normalizes * value for value in processor.image_mean]}
        fields |= {"std": [round(value**divisions, 9) for value in processor.image_std]}
    resize, sides = _resized(processor) if processor.do_resize else (None, None)
    return fields | ({"resize": resize} if resize else {}) | ({"input_size": sides} if sides else {})


def _resized(processor: _Processor) -> tuple[str | None, list[int] | None]:
    """Returns `resize` and `input_size` of what an image processor does; None for what no card can say."""
    size, crop, padded = processor.size, _sides(processor.crop_size), _sides(processor.pad_size)
    named = size if isinstance(size, Mapping) else {}
    if processor.do_center_crop:
        return ("stretch" if named.get("height") else "crop"), crop
    if processor.do_pad and padded:
        longest = named.get("max_height") or named.get("longest_edge") or processor.max_size
        return ("fit", padded) if longest == padded[0] == padded[1] else (None, padded)
    if processor.crop_pct:
        side = size if isinstance(size, int) else int(named.get("shortest_edge") or 0)
        return ("crop" if side < _WARPED else "stretch", [side, side]) if side else (None, None)
    if processor.max_size and isinstance(size, int):
        return "fit", None
    sides = _sides(size)
    if sides:
        return None if processor.keep_aspect_ratio else "stretch", sides
    return "fit" if named else None, None  # a shortest side, and a longest one: the aspect ratio is kept


def _sides(size: _Sides) -> list[int] | None:
    """Returns height and width of a size; None if it does not give both."""
    if isinstance(size, int):
        return [size, size]
    if isinstance(size, Mapping):
        size = tuple(int(size.get(name) or 0) for name in ("height", "width"))
    return list(size) if size and len(size) == 2 and all(size) else None


def _labels(model: Model, notes: list[str]) -> dict[str, Any]:
    """Reads the label file that is packed into a .tflite file."""
    path = Path(model.path)
    try:
        name, text = _packed(path)
        names = [] if _structured(text) else list(read_names(text))  # metadata are read by `_ultralytics`
    except _DAMAGED as error:
        notes.append(f"not read: the label file inside {path.name}: {one_line(error)}")
        return {}
    begins = bool(model.facts.get("suppressed"))  # by TFLite_Detection_PostProcess, whose ids leave out the background
    if not names:
        notes += ["ids begin with 0, the first class: leave out a ??? in the first line of a label file"] * begins
        return {}
    notes.append(f"read: {short(name)[1:-1]} inside the file")
    if begins and is_hole(names[0]):
        notes.append(f"left out: its first line, {names[0]}: ids begin with 0, the first class")
        names = names[1:]
    return {"class_names": names}


def _packed_metadata(path: Path) -> dict[str, Any]:
    """Returns the metadata that ultralytics packs into a .tflite file; none if there are none, or they are damaged."""
    try:
        return _structured(_packed(path)[1])
    except _DAMAGED:  # of which `_labels` tells
        return {}


def _structured(text: str) -> dict[str, Any]:
    """Returns the fields of a text in JSON, or written as a dict of Python; none if it is another text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text.strip())
    return found if isinstance(found, dict) else {}


# What `zipfile` raises for damaged, encrypted or strangely compressed files, and `_packed` and `read_names` for others.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


def _packed(path: Path) -> tuple[str, str]:
    """Returns name and text of the metadata, or else of the only text file, in a .tflite file; empty if there are none.

    Raises:
      ValueError: there are several, or it is empty, too large, or not in UTF-8.
    """
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return "", ""
    with zipfile.ZipFile(path) as archive:
        return _only_text(archive)


def _only_text(archive: zipfile.ZipFile) -> tuple[str, str]:
    entries = archive.infolist()
    files = [entry for entry in entries if entry.filename == _METADATA]
    files = files or [entry for entry in entries if entry.filename.endswith(".txt")]
    names = ", ".join(short(entry.filename) for entry in files)
    if len(files) > 1:
        raise ValueError(f"{len(files)} text files ({names}); expected one, of class names")
    if not files:
        return "", ""
    if files[0].file_size > _MOST_BYTES:
        raise ValueError(f"{names} is too large; expected {_MOST_BYTES:,} bytes at most")
    text = archive.read(files[0]).decode("utf-8-sig")
    if not text.strip():
        raise ValueError(f"{names} is empty; expected class names, one per line")
    return files[0].filename, text


def _beside(model: Model, name: str) -> Path:
    """Returns the path of a file in the folder of a model file, or if it is not there, in the folder above it."""
    folders = Path(model.path).resolve().parents[:2]
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)


def _file(path: Path, read: Callable[[Path], Any], notes: list[str]) -> dict[str, Any]:
    """Returns the fields of a file; none if there is no such file, or if it cannot be read."""
    if not path.is_file():
        return {}
    try:
        found = read(path)
        if not isinstance(found, dict):
            raise UserError(f"{path}: {short(found)} received; expected names with values")
    except (UserError, OSError) as error:
        notes.append(f"not read: {one_line(error)}")
        return {}
    return found


def _literal(value: Any) -> Any:
    """Returns a Python literal in a text; other values as they are."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _names(fields: Mapping[str, Any], field: str, where: Any, notes: list[str]) -> list[str]:
    """Returns the class names of a field that holds them by id or in a list; none if there are none."""
    rows = _literal(fields.get(field))
    rows = dict(enumerate(rows)) if isinstance(rows, list) else rows
    if rows is None:
        return []
    try:
        if not isinstance(rows, dict) or not all(str(key).isdecimal() for key in rows):
            raise ValueError(f"{short(rows)} received; expected class names by id, as {{0: cat, 1: dog}}")
        return list(names_by_id({int(key): None if name is None else str(name) for key, name in rows.items()}))
    except ValueError as error:
        notes.append(f"not read: {where}: {field}: {one_line(error)}")
        return []
