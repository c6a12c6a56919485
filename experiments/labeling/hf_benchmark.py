"""Benchmark of `hf:` teachers: python -m must_tf.experiments.labeling.hf_benchmark [--out=FILE] prints, writes JSON.

1. The ratio of images/s of `must label` to images/s of a bare loop of transformers, which opens the same files,
   prepares them with the image processor and runs the model, at the same batch size, device and precision. Both are
   measured alternately in one run, for a classifier (ViT-Tiny, 224 pixels) and a detector (YOLOS-Tiny) on photographs
   of 640 x 427 pixels.
2. Peak memory of labeling 1,000 and 10,000 images, each in its own process.

Weights are random, and nothing is downloaded. It needs the extra `hf`.
"""

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read as TensorFlow is imported

import numpy as np
from absl import flags
from PIL import Image

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.labeling.benchmark import in_own_process, photographs
from must_tf.labeling import label
from must_tf.runtime.progress import peak_memory_gb
from must_tf.teachers import Teacher, TeacherSpec, load_teacher
from must_tf.teachers.model import optional

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "hf_benchmark.json", "JSON file for the results.", flag_values=FLAGS)

BATCH, PHOTOS, ROUNDS = 32, 128, 3
COUNTS = (1_000, 10_000)


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.labeling.hf_benchmark", __doc__, FLAGS, main, argv)


def main() -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder, "photos"), PHOTOS)
        speed = {name: compare(save(Path(folder, name)), Path(folder, "photos")) for name, save in MODELS.items()}
    memory = {str(count): in_own_process(functools.partial(peak, count)) for count in COUNTS}
    results = {"speed": speed, "memory_gb": memory}
    print(text(results))
    storage.write_json(_OUT.value, results)
    print(f"{_OUT.value}: the same as JSON")


def text(results: dict[str, Any]) -> str:
    """Returns the results as text."""
    lines = [
        f"{name}: must label {found['label']:.1f} images/s, bare transformers {found['bare']:.1f} images/s: ratio "
        f"{found['ratio']:.2f} (goal: at least 0.9)"
        for name, found in results["speed"].items()
    ]
    peaks = [f"{int(count):,} images: {gb:.2f} GB at the peak" for count, gb in results["memory_gb"].items()]
    return "\n".join([*lines, "; ".join(peaks)])


def vit(folder: Path, image_size: int = 224, layers: int = 12) -> Path:
    """Saves a random classifier of the size of ViT-Tiny, and its image processor."""
    library = optional("transformers", "hf")
    config = library.ViTConfig(
        hidden_size=192, num_hidden_layers=layers, num_attention_heads=3, intermediate_size=768, image_size=image_size,
        num_labels=1000,
    )  # fmt: skip
    size = {"height": image_size, "width": image_size}
    return _saved(folder, library.ViTForImageClassification(config), library.ViTImageProcessorPil(size=size))


def yolos(folder: Path) -> Path:
    """Saves a random detector of the size of YOLOS-Tiny with a quarter of its pixels, and its image processor."""
    library = optional("transformers", "hf")
    config = library.YolosConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, image_size=[256, 432],
        use_mid_position_embeddings=False, num_labels=91,
    )  # fmt: skip
    size = {"shortest_edge": 256, "longest_edge": 666}
    return _saved(folder, library.YolosForObjectDetection(config), library.YolosImageProcessorPil(size=size))


MODELS: dict[str, Callable[[Path], Path]] = {"ViT-Tiny": vit, "YOLOS-Tiny": yolos}


def compare(model: Path, photos: Path) -> dict[str, Any]:
    """Returns images/s of `must label` and of the bare loop, their ratio (medians over rounds), and all rounds."""
    teacher = load_teacher(TeacherSpec.of("t", f"hf:{model}"))
    label_once, bare_once = functools.partial(_label, teacher, photos), bare(model, photos)
    label_once(), bare_once()  # the first calls are slower
    rounds = [(_rate(label_once), _rate(bare_once)) for _ in range(ROUNDS)]
    rates = np.array(rounds)
    labeled, plain = np.median(rates, axis=0)
    ratio = float(np.median(rates[:, 0] / rates[:, 1]))
    turns = [{"label": ours, "bare": theirs} for ours, theirs in rounds]
    return {"label": float(labeled), "bare": float(plain), "ratio": ratio, "turns": turns}


def bare(model: Path, photos: Path) -> Callable[[], None]:
    """Returns the usual loop over the photographs: a batch is opened, prepared, run and read."""
    torch, library = optional("torch", "hf"), optional("transformers", "hf")
    detects = "YOLOS" in model.name
    loader = library.AutoModelForObjectDetection if detects else library.AutoModelForImageClassification
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processor, network = library.AutoImageProcessor.from_pretrained(model), loader.from_pretrained(model)
    network.eval().to(device)
    files = sorted(photos.iterdir())

    def loop() -> None:
        for start in range(0, len(files), BATCH):
            images = [Image.open(file).convert("RGB") for file in files[start : start + BATCH]]
            inputs = processor(images=images, return_tensors="pt").to(device)
            with torch.inference_mode():
                found = network(**inputs)
            if detects:
                processor.post_process_object_detection(found, 0.5, [(image.height, image.width) for image in images])
            else:
                found.logits.softmax(-1).cpu().numpy()

    return loop


def peak(count: int) -> float:
    """Labels `count` small images of three sizes with a small classifier; returns the peak memory in GB."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            path = Path(folder, "photos", f"{i // 1000}", f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (48 + 16 * (i % 3), 64, 3), np.uint8)).save(path)
        teacher = load_teacher(TeacherSpec.of("classes", f"hf:{vit(Path(folder, 'vit'), 32, 1)}"))
        _label(teacher, Path(folder, "photos"))
    return peak_memory_gb()


def _saved(folder: Path, model: Any, processor: Any) -> Path:
    for part in (model, processor):
        part.save_pretrained(folder)
    return folder


def _label(teacher: Teacher, photos: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        label(photos, [teacher], Path(out, "out"), BATCH, allow_empty=True)


def _rate(run: Callable[[], Any]) -> float:
    """Returns images/s of a function that processes all photographs."""
    started = time.monotonic()
    run()
    return PHOTOS / (time.monotonic() - started)


if __name__ == "__main__":
    run(sys.argv[1:])
