"""Scores the teachers of the photographs where there is truth, from the labels that the stages have made.

Nothing is trained on the labels in `data/truth`. What a teacher may have seen in its own training stands in RESULTS.md.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from must_tf.experiments.photos.datasets import PARTS
from must_tf.experiments.photos.measure import aligned_delta1
from must_tf.records import Dataset, Record, open_dataset
from must_tf.records.manifest import is_dataset

# Folders of Imagenette → their ids among ImageNet's 1000 classes.
IMAGENETTE = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
_VOC = re.compile(r"\d{4}_\d{6}\.\w+")  # how PASCAL VOC names its images
_ROAD = {"car": ("car",), "person": ("pedestrian", "cyclist")}  # VOC's class → CamVid's classes
_FARTHEST = 10.0  # meters; NYU's camera sees no farther


def judge(out: Path) -> dict[str, dict[str, Any]]:
    """Returns the scores of each teacher whose labels are there, with the number of images; see the functions below."""
    found: dict[str, dict[str, Any]] = {}
    parts = [out / "data" / "labeled" / part for part in PARTS]
    labeled = [open_dataset(folder) for folder in parts if is_dataset(folder)]
    if labeled and any(task.name == "classification" for task in labeled[0].manifest.tasks):
        found["classification"] = classes(labeled)
    for task, function in _JUDGES.items():
        if is_dataset(out / "data" / "truth" / task):
            found[task] = function(open_dataset(out / "data" / "truth" / task))
    return found


def classes(datasets: list[Dataset]) -> dict[str, Any]:
    """Returns `top1` among 1000 classes, of the shared photographs that are Imagenette's."""
    right = []
    for dataset in datasets:
        for record in dataset.records():
            folder = next((part for part in PurePosixPath(record.filename).parts if part in IMAGENETTE), None)
            if folder and "classification" in record.labels:
                right.append(int(np.argmax(record.labels["classification"])) == IMAGENETTE[folder])
    return {"images": len(right), "top1": float(np.mean(right)) if right else float("nan")}


def boxes(dataset: Dataset) -> dict[str, Any]:
    """Returns AP50 and AP on the animals, of all images and of those that are not PASCAL's."""
    truth, teacher = (_task(dataset, name) for name in ("animals", "detection"))
    numbers = {name: number for number, name in enumerate(truth.class_names)}
    ids = np.array([numbers.get(name, -1) for name in teacher.class_names])
    metrics = {"all images": truth.metrics(), "without PASCAL's": truth.metrics()}
    counts = dict.fromkeys(metrics, 0)
    for record in _labeled(dataset, "animals", "detection"):
        known, label = record.labels["animals"], record.labels["detection"]
        target = {key: np.asarray(known[key])[np.newaxis] for key in ("boxes", "classes", "ignore") if key in known}
        outputs = {key: np.asarray(label[key])[np.newaxis] for key in ("boxes", "scores")}
        outputs["classes"] = ids[np.asarray(label["classes"], int)][np.newaxis]
        for name in metrics if not is_voc(record.filename) else ("all images",):
            metrics[name].update(target | {"present": np.ones(1, bool)}, outputs)
            counts[name] += 1
    results = {name: metric.result() for name, metric in metrics.items()}
    return {
        name: {"images": counts[name]} | {key: result[key] for key in ("AP50", "AP")}
        for name, result in results.items()
    }


def masks(dataset: Dataset) -> dict[str, Any]:
    """Returns the IoU of two classes that CamVid and VOC share; a cyclist is a person there."""
    truth, teacher = (_task(dataset, name) for name in ("camvid", "segmentation"))
    both, either = dict.fromkeys(_ROAD, 0), dict.fromkeys(_ROAD, 0)
    count = 0
    for record in _labeled(dataset, "camvid", "segmentation"):
        known, label = np.asarray(record.labels["camvid"]), np.asarray(record.labels["segmentation"])
        valid = (known >= 0) & (known < len(truth.class_names))  # 255 is ignored
        count += 1
        for name, theirs in _ROAD.items():
            true = np.isin(known, [truth.class_names.index(one) for one in theirs])
            guess = (label == teacher.class_names.index(name)) & valid
            both[name] += int((true & guess).sum())
            either[name] += int((true | guess).sum())
    return {"images": count} | {f"IoU {name}": both[name] / max(either[name], 1) for name in _ROAD}


def depths(dataset: Dataset) -> dict[str, Any]:
    """Returns δ1 of inverse depth and AbsRel of depth on NYU, after alignment in scale and shift.

    Two baselines are beside the teacher: `ramp`, which is nearer at the bottom, and `constant`.
    """
    scores: dict[str, list[tuple[float, float]]] = {"teacher": [], "ramp": [], "constant": []}
    for record in _labeled(dataset, "nyu_depth", "depth"):
        known, depth = np.asarray(record.labels["nyu_depth"]), np.asarray(record.labels["depth"])
        valid = np.isfinite(known) & (known > 0) & np.isfinite(depth)
        rows = np.broadcast_to(np.arange(known.shape[0], dtype=float)[:, np.newaxis], known.shape)
        for name, guess in (("teacher", depth), ("ramp", rows), ("constant", np.ones_like(rows))):
            inverse = 1 / known[valid]
            scores[name].append((aligned_delta1(guess[valid], inverse), _relative(guess[valid], inverse)))
    names = ("delta1", "AbsRel")
    means = {name: dict(zip(names, np.mean(own, 0).tolist(), strict=True)) for name, own in scores.items() if own}
    return {name: {"images": len(scores[name])} | row for name, row in means.items()}


def is_voc(filename: str) -> bool:
    """Whether an image has a name of PASCAL VOC's, such as 2007_000175.jpg."""
    return bool(_VOC.fullmatch(PurePosixPath(filename).name))


_JUDGES = {"detection": boxes, "segmentation": masks, "depth": depths}


def _relative(guess: np.ndarray, inverse: np.ndarray) -> float:
    """Returns the mean of |error| / depth, after least squares have aligned inverse depths."""
    columns = np.stack([guess.astype(float), np.ones(len(guess))], 1)
    aligned = columns @ np.linalg.lstsq(columns, inverse, rcond=None)[0]
    depth = 1 / np.maximum(aligned, 1 / _FARTHEST)
    return float(np.mean(np.abs(depth * inverse - 1)))


def _task(dataset: Dataset, name: str) -> Any:
    return next(task for task in dataset.manifest.tasks if task.name == name)


def _labeled(dataset: Dataset, *names: str) -> Iterator[Record]:
    for record in dataset.records():
        if record.labels.keys() >= {*names}:
            yield record
