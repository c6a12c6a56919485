"""Reads card fields from inside or beside a model file: ultralytics' metadata, Hugging Face's configs, label files."""

import ast
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.parsing import read_object, read_yaml
from must_tf.tasks.classes import read_names
from must_tf.teachers.model import Model

_TASKS = {"detect": "detection", "segment": "detection", "pose": "detection", "classify": "classification"}
_HEADS = {
    "ForImageClassification": "classification",
    "ForObjectDetection": "detection",
    "ForSegmentation": "detection",  # of instances, with boxes
    "ForSemanticSegmentation": "segmentation",
    "ForDepthEstimation": "depth",
}
_MOST_BYTES = 1_000_000  # of a label file


def facts_of(model: Model) -> tuple[dict[str, Any], list[str]]:
    """Returns card fields that files say of a model, and what was read, in words.

    Fields of damaged files are left out; the draft does without them.
    """
    fields = dict(model.facts)
    sources: list[str] = []
    for read in (_ultralytics, _hugging_face, _labels):
        found, source = read(model)
        if found:
            fields = {**found, **fields}
            sources.append(source)
    return fields, sources


def _ultralytics(model: Model) -> tuple[dict[str, Any], str]:
    """Reads metadata in an ONNX file, or metadata.yaml in the folder of a SavedModel."""
    metadata: Mapping[str, Any] = model.metadata or _file(Path(model.path) / "metadata.yaml", read_yaml)
    names = _names(_literal(metadata.get("names")))
    if not names:
        return {}, ""
    task = str(metadata.get("task", "detect"))
    fields: dict[str, Any] = {"class_names": names, "range": [0, 1], "channel_order": "RGB"}
    if task in _TASKS:
        fields["task"] = _TASKS[task]
    size = _literal(metadata.get("imgsz"))
    if isinstance(size, list) and len(size) == 2:
        fields["input_size"] = size
    if fields.get("task") == "detection":
        fields["resize"] = "fit"
        options = _literal(metadata.get("args"))
        ended = [_literal(metadata.get("end2end")), options.get("nms") if isinstance(options, dict) else None]
        if "task" in metadata:  # of YOLOv5 there is none, and its heads are raw
            fields["suppressed"] = any(one is True for one in ended)
    elif fields.get("task") == "classification":
        fields |= {"activation": "probabilities", "multi_label": False, "resize": "crop"}
    fields |= {
        name: str(metadata[key]) for name, key in (("license", "license"), ("source", "docs")) if key in metadata
    }
    return fields, "metadata of ultralytics"


def _hugging_face(model: Model) -> tuple[dict[str, Any], str]:
    """Reads config.json and preprocessor_config.json in the folder of a model file, or in the one above it."""
    folders = list(Path(model.path).resolve().parents[:2])
    config: dict[str, Any] = {}
    prepared: dict[str, Any] = {}
    for folder in folders:
        config = config or _file(folder / "config.json", read_object)
        prepared = prepared or _file(folder / "preprocessor_config.json", read_object)
    fields: dict[str, Any] = {}
    if names := _names(config.get("id2label")):
        fields["class_names"] = names
    heads = config.get("architectures")
    for head in heads if isinstance(heads, list) else []:
        task = next((kind for ending, kind in _HEADS.items() if str(head).endswith(ending)), None)
        fields |= {"task": task} if task else {}
    if fields.get("task") == "classification":
        several = config.get("problem_type") == "multi_label_classification"
        fields["activation"] = "sigmoid" if several else "logits"
    if config.get("_name_or_path"):
        fields["source"] = str(config["_name_or_path"])
    files = " and ".join(["config.json"] * bool(config) + ["preprocessor_config.json"] * bool(prepared))
    return fields | _preparation(prepared), f"{files} beside the file"


def _preparation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of the input that an image processor of `transformers` defines."""
    if not config:
        return {}
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    fields: dict[str, Any] = {"range": [0, 1 if abs(255 * factor - 1) < 1e-6 else 255 * factor], "channel_order": "RGB"}
    mean, std = config.get("image_mean"), config.get("image_std")
    if config.get("do_normalize", True) and mean and std:
        fields |= {"mean": mean, "std": std}
    size = config.get("crop_size") if config.get("do_center_crop") else config.get("size")
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        fields["input_size"] = [size["height"], size["width"]]
        fields["resize"] = "crop" if config.get("do_center_crop") else "stretch"
    elif isinstance(size, dict):  # a shortest side, and a longest one: the aspect ratio is kept
        fields["resize"] = "fit"
    return fields


def _labels(model: Model) -> tuple[dict[str, Any], str]:
    """Reads the label file that is packed into a .tflite file."""
    path = Path(model.path)
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return {}, ""
    try:
        with zipfile.ZipFile(path) as archive:
            files = [entry for entry in archive.infolist() if entry.filename.endswith(".txt")]
            if len(files) != 1 or files[0].file_size > _MOST_BYTES:
                return {}, ""
            text = archive.read(files[0]).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError):
        return {}, ""
    return {"class_names": list(read_names(text))}, f"{files[0].filename} inside the file"


def _file(path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    """Returns the fields of a file; none if there is no such file, or it cannot be read."""
    if not path.is_file():
        return {}
    try:
        found = read(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _literal(value: Any) -> Any:
    """Returns a Python literal in a text; other values as they are."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _names(value: Any) -> list[str]:
    """Returns names by id, `{0: cat, ...}`, or in a list, as a list with `n/a` at ids that have none."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not all(str(key).isdecimal() and int(key) < 10**5 for key in value):
        return []
    by_id = {int(key): str(name) for key, name in value.items()}
    return list(read_names("\n".join(_by_id(by_id)))) if by_id else []


def _by_id(names: Mapping[int, str]) -> Iterator[str]:
    for i in range(max(names) + 1):
        yield " ".join(names.get(i, "").split()) or "n/a"
