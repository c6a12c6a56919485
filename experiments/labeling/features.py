"""Measures features as labels: python -m must_tf.experiments.labeling.features --images=FOLDER --model=FILE.

1. Storage, of maps of a classifier that has learned, on photographs: for numbers of principal components k, the bytes
   of a label, the share of the variance that is kept, and the mean cosine of full features and those of a record.
   Components are fitted on one half of the photographs, and all of this is measured on the other half.
2. Bytes of ViT-S/14 at 224 pixels, which are computed: a grid of 16 x 16, a global vector of 384.
3. The ratio of images/s of `must label` with features to images/s of the same network's `predict` on images in memory.

The model is EfficientNet-Lite0, which `make photos` writes as OUT/models/efficientnet_lite0.keras.
"""

import dataclasses
import functools
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags
from PIL import Image

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.labeling.measure import BATCH, Benchmark, label_all, photographs
from must_tf.labeling import fit_teachers
from must_tf.sources import open_source
from must_tf.tasks.features import Features
from must_tf.tasks.features.projection import Projection, cosine
from must_tf.teachers import Teacher, TeacherSpec, load_teacher

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string("images", None, "Folder of photographs, searched recursively.", flag_values=FLAGS)
_MODEL = flags.DEFINE_string("model", None, "efficientnet_lite0.keras.", flag_values=FLAGS)
_COUNT = flags.DEFINE_integer("count", 768, "Photographs, evenly spaced over the folder.", 4, flag_values=FLAGS)
_PARTS = flags.DEFINE_list(
    "parts", ["storage", "speed"], "What is measured: storage, speed, or both.", flag_values=FLAGS
)
_OUT = flags.DEFINE_string("out", "features.json", "JSON file for the results.", flag_values=FLAGS)
flags.mark_flags_as_required(["images", "model"], flag_values=FLAGS)

_SIDE = 224
_CARD = {"task": "features", "resize": "crop", "range": [0, 255], "mean": [127] * 3, "std": [128] * 3}
_MAPS = {  # layers of the network, and the numbers of components
    "blocks.10._bn2": (32, 64, 80, 96),  # the last map of stride 16: 112 channels
    "blocks.15._bn2": (64, 128, 192, 256),  # the last block: stride 32, 320 channels
    "re_lu_32": (64, 128, 256, 384),  # the last map, which the classifier averages: stride 32, 1280 channels
}
_VIT_CELLS, _VIT_SUMMARY, _VIT_COMPONENTS = 16 * 16, 384, (32, 64, 76)
_SPEED = 192, 64  # photographs, and components


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.labeling.features"
    command = f"{program} {shlex.join(argv)}"
    app.run(program, __doc__, FLAGS, lambda: main(command), argv)


def main(command: str) -> None:
    """Measures, prints the results and writes them as JSON."""
    results: dict[str, Any] = {"command": command}
    with tempfile.TemporaryDirectory() as folder:
        if "storage" in _PARTS.value:
            results |= {"storage": _storage(Path(folder)), "computed": _computed()}
        if "speed" in _PARTS.value:
            results["speed"] = speed(list(_MAPS)[-1], Path(folder))
    storage.write_json(_OUT.value, results)
    print(text(results))
    print(f"{_OUT.value}: the same as JSON")


def _storage(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Returns the figures of all maps."""
    files = sorted(path for path in Path(_IMAGES.value).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    files = files[:: max(len(files) // _COUNT.value, 1)][: _COUNT.value]
    found = {}
    for layer, components in _MAPS.items():
        _, teacher = make(layer, folder)
        found[layer] = list(storage_of(teacher, files, components))
        print(f"{layer}: measured", flush=True)
    return found


def make(layer: str, folder: Path) -> tuple[tf_keras.Model, Teacher]:
    """Returns the network up to a layer, and the teacher of its features, whose components are not fitted."""
    whole = tf_keras.models.load_model(_MODEL.value, compile=False)
    model = tf_keras.Model(whole.inputs, whole.get_layer(layer).output)
    path = folder / f"{layer}.keras"
    model.save(path)
    return model, load_teacher(TeacherSpec.of("features", f"keras:{path}", fields={**_CARD, "components": _SPEED[1]}))


def storage_of(teacher: Teacher, files: Sequence[Path], components: Sequence[int]) -> Iterator[dict[str, float]]:
    """Yields the figures of each number of components, measured on every second photograph, fitted on the others."""
    views = [teacher.view(np.asarray(Image.open(path).convert("RGB"))) for path in files]
    outputs = [one for i in range(0, len(views), BATCH) for one in teacher.predict(views[i : i + BATCH], BATCH)]
    for count in components:
        fitting = dataclasses.replace(teacher.task, channels=count).fitting()
        for one in outputs[::2]:
            fitting.add(one)
        yield measured(Projection.from_bytes(fitting.result("")), outputs[1::2])


def measured(projection: Projection, outputs: Sequence[Any]) -> dict[str, float]:
    """Returns what labels of images take and lose; `variance` is the share that is kept of standardized features."""
    task = Features("t", projection.channels, projection.summary, projection.sha256)
    full = np.stack([one["grid"] for one in outputs])
    labels = [task.pseudo_label(one | {"grid": projection.project(one["grid"])}) for one in outputs]
    encoded = [task.encode(label) for label in labels]
    size = np.mean([sum(len(v) * (1 if isinstance(v, bytes) else 4) for v in one.values()) for one in encoded])
    back = np.stack([projection.restore(_stored(task, one)) for one in encoded])
    lost = projection.standardize(full) - projection.standardize(back)
    return {
        "components": projection.channels, "channels": full.shape[-1], "grid": list(full.shape[1:3]),
        "fitted": projection.figures["images"], "images": len(outputs), "bytes": float(size),
        "variance_of_fit": projection.figures["variance"],
        "variance": float(1 - np.square(lost).sum() / np.square(projection.standardize(full)).sum()),
        "cosine": float(cosine(full, back).mean()),
        "cosine_standardized": float(cosine(projection.standardize(full), projection.standardize(back)).mean()),
    }  # fmt: skip


def _stored(task: Features, encoded: Any) -> np.ndarray:
    """Returns the grid that a record gives back."""
    size = {"image/height": _SIDE, "image/width": _SIDE}
    values = {key: tf.constant(value[0] if len(value) == 1 else value) for key, value in encoded.items()}
    return task.decode({**values, **size})["grid"].numpy()


def _computed() -> list[dict[str, Any]]:
    """Returns the bytes of labels of ViT-S: of the grid, the global vector, and seven other numbers."""
    sizes = {count: _VIT_CELLS * count + _VIT_SUMMARY + 7 * 4 for count in _VIT_COMPONENTS}
    return [{"model": "ViT-S/14, 224 px", "components": count, "bytes": size} for count, size in sizes.items()]


def speed(layer: str, folder: Path) -> dict[str, Any]:
    """Returns images/s of labeling with fitted components, and of `predict` on images in memory."""
    photos = folder / "photos"
    photographs(photos, _SPEED[0])
    model, teacher = make(layer, folder)
    (fitted,) = fit_teachers([teacher], open_source(str(photos)), folder / "fitted", BATCH)
    batch = np.random.default_rng(0).uniform(-1, 1, (BATCH, _SIDE, _SIDE, 3)).astype(np.float32)
    batches = tf.data.Dataset.from_tensors(batch).repeat(_SPEED[0] // BATCH)
    benchmark = Benchmark("bare predict", {}, lambda _: fitted, _SPEED[0], 0.0, (0, 0))
    return benchmark.compare(
        functools.partial(label_all, fitted, photos), functools.partial(model.predict, batches, verbose=0)
    )


def text(results: dict[str, Any]) -> str:
    """Returns the results as text."""
    lines = []
    for layer, rows in results.get("storage", {}).items():
        grid, channels = "x".join(map(str, rows[0]["grid"])), rows[0]["channels"]
        lines.append(f"{layer}, {grid}, {channels} channels, {rows[0]['images']} photographs that were not fitted")
        lines += [
            f"  k {row['components']:3}  {row['bytes'] / 1000:5.1f} kB  variance {row['variance']:.1%}  "
            f"cosine {row['cosine']:.3f}  standardized {row['cosine_standardized']:.3f}"
            for row in rows
        ]
    lines += [
        f"{row['model']}  k {row['components']:3}  {row['bytes'] / 1000:5.1f} kB (computed)"
        for row in results.get("computed", [])
    ]
    if found := results.get("speed"):
        rates = f"must label {found['label']:.1f} images/s, bare predict {found['bare']:.1f} images/s"
        lines += [f"{rates}: ratio {found['ratio']:.2f} (goal: at least 0.9)"]
    return "\n".join(lines)


if __name__ == "__main__":
    run(sys.argv[1:])
