"""Evaluates teachers on photographs with known labels, from the labels that `must label` wrote for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf import storage
from must_tf.records import Dataset, open_dataset, verify
from must_tf.tasks import Depth


def measure(out: Path) -> dict[str, dict[str, Any]]:
    """Returns the scores of each task with photographs labeled into `OUT/data/truth/TASK`, see the functions below.

    It also returns the scores of `must evaluate` on held-out rooms, the share of the student's training that waited for
    data, and the mean bytes of an image and of a label.
    """
    found: dict[str, dict[str, Any]] = {}
    for task, function in _MEASURES.items():
        if (out / "data" / "truth" / task / "manifest.json").exists():
            dataset = open_dataset(out / "data" / "truth" / task)
            labels = _labels(dataset, out / "truth" / task, task)
            found[task] = function(out / "truth", labels, dataset.manifest.tasks[0])
    for task in ("depth", "normals"):
        if (path := out / "runs" / f"teacher_{task}" / "evaluation.json").exists():
            found[f"{task} on rooms"] = storage.read_json(path)["scores"][task]
    if (out / "runs" / "student" / "tensorboard").is_dir():
        found["student's training"] = {"data-wait": _last(out / "runs" / "student", "data_wait")}
    if (out / "data" / "labeled" / "manifest.json").exists():
        found["bytes"] = sizes(open_dataset(out / "data" / "labeled"))
    return found


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the figures as text, one line per task or per part of it, such as a photograph."""
    rows: dict[str, Mapping[str, Any]] = {}
    for task, values in figures.items():
        parts = any(isinstance(value, dict) for value in values.values())
        rows |= {f"{task}, {name}": row for name, row in values.items()} if parts else {task: values}
    width = max(map(len, rows), default=0)
    return "\n".join(
        f"{name:{width}}  " + "  ".join(f"{key} {_number(value)}" for key, value in row.items())
        for name, row in rows.items()
    )


def sizes(dataset: Dataset) -> dict[str, int]:
    """Returns the mean bytes of an image and of a label of each task."""
    findings = verify(dataset)
    labels = {name: sum(origins.values()) for name, origins in dataset.manifest.counts.items()}
    own = {name: findings.label_bytes[name] // max(count, 1) for name, count in labels.items()}
    return {"image": findings.image_bytes // max(findings.records, 1)} | own


def classes(truth: Path, labels: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Returns `top1`, the share of photographs whose most probable class is right, and `chance`, that of guessing."""
    known = storage.read_json(truth / "classification.json")
    right = [int(np.argmax(probs)) == known[name] for name, probs in labels.items()]
    return {"images": len(right), "top1": float(np.mean(right)), "chance": 1 / task.num_classes}


def boxes(truth: Path, labels: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Returns the numbers of true `boxes`, of predicted boxes (`found`), and of true boxes that were `right`.

    A box is right if a prediction of its class has an IoU of at least 0.5. The numbers are given for two thresholds on
    the score: the card's, and the paper's 0.5.
    """
    found: dict[str, Any] = {}
    for score in sorted({task.min_score, 0.5}):
        row = found[f"score ≥ {score:g}"] = {"boxes": 0, "found": 0, "right": 0}
        for name, known in storage.read_json(truth / "detection.json").items():
            label = labels[name]
            order = [i for i in np.argsort(-label["scores"], kind="stable") if label["scores"][i] >= score]
            guesses = [(label["boxes"][i], task.class_names[label["classes"][i]]) for i in order]
            row["right"] += matches(guesses, list(zip(np.array(known["boxes"]), known["classes"], strict=True)))
            row["boxes"] += len(known["boxes"])
            row["found"] += len(guesses)
    return found


def matches(guesses: list[tuple[np.ndarray, str]], known: list[tuple[np.ndarray, str]]) -> int:
    """Counts true boxes (box, class) that have an IoU of 0.5 or more with a guess of their class, best guess first."""
    left = list(known)
    for box, name in guesses:
        overlaps = [_iou(box, other) if name == label else 0.0 for other, label in left]
        if overlaps and max(overlaps) >= 0.5:
            left.pop(int(np.argmax(overlaps)))
    return len(known) - len(left)


def masks(truth: Path, labels: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Returns the mean `IoU` of the foreground with the cut-out; `everything` is the IoU of the whole image."""
    scores, whole = [], []
    for name, mask in labels.items():
        known = np.asarray(Image.open(truth / "segmentation_truth" / name)) > 127
        scores.append(((mask == 1) & known).sum() / ((mask == 1) | known).sum())
        whole.append(known.mean())
    return {"images": len(scores), "IoU": float(np.mean(scores)), "everything": float(np.mean(whole))}


def depths(truth: Path, labels: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Compares inverse depth with the true one for each photograph: that of the teacher and of two baselines.

    The baseline `ramp` is nearer at the bottom of the image; `constant` is the same everywhere. The correlation is
    given for teacher and ramp. `delta1` is given for all three: the share of pixels whose error is a factor below 1.25,
    after alignment of scale and shift by least squares.
    """
    found = {}
    for name, depth in labels.items():
        known = np.load(truth / "depth_truth" / f"{Path(name).stem}.npz")["inverse"]
        valid = (known > 0) & np.isfinite(depth) & (depth > 0)
        rows = np.broadcast_to(np.arange(known.shape[0])[:, np.newaxis], known.shape)
        inverse = {"teacher": 1 / depth[valid], "ramp": rows[valid], "constant": np.ones(valid.sum())}
        correlations = {
            guess: float(np.corrcoef(values, known[valid])[0, 1])
            for guess, values in inverse.items()
            if guess != "constant"
        }
        found[f"{Path(name).stem}, correlation"] = correlations
        found[f"{Path(name).stem}, delta1"] = {
            guess: aligned_delta1(values, known[valid]) for guess, values in inverse.items()
        }
    return found


_MEASURES = {"classification": classes, "detection": boxes, "segmentation": masks, "depth": depths}


def aligned_delta1(guess: np.ndarray, known: np.ndarray) -> float:
    """Returns the share of inverse depths, after alignment with the known ones, that are off by less than 1.25."""
    metric = Depth("depth", convention="affine_inverse").metrics()
    target, output = (values.reshape(1, 1, -1, 1).astype(np.float32) for values in (known, guess))
    metric.update({"depth": target, "valid": np.ones(target.shape, bool)}, {"depth": output})
    return metric.result()["delta1"]


def _last(workdir: Path, name: str) -> float:
    """Returns the last value of a scalar that a run wrote for TensorBoard."""
    values = [
        float(tf.make_ndarray(value.tensor))
        for file in sorted((workdir / "tensorboard").iterdir())
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag == name
    ]
    return values[-1]


def _labels(dataset: Dataset, images: Path, task: str) -> dict[str, Any]:
    """Returns {name of the image: label}."""
    names = {storage.sha256(path)[:16]: path.name for path in images.iterdir()}
    return {names[record.id]: record.labels[task] for record in dataset.records() if task in record.labels}


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the IoU of two boxes (ymin, xmin, ymax, xmax)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
