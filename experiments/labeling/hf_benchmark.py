"""Benchmark of `hf:` teachers: python -m must_tf.experiments.labeling.hf_benchmark [--out=FILE] prints, writes JSON.

1. The ratio of images/s of `must label` to images/s of a bare loop of transformers, which opens the same files,
   prepares them with the image processor and runs the model, at the same batch size, device and precision. Both are
   measured alternately in one run, for a classifier (ViT-Tiny, 224 pixels) and a detector (YOLOS-Tiny) on photographs
   of 640 x 427 pixels.
2. Peak memory of labeling 1,000 and 10,000 images, each in its own process.

Weights are random, and nothing is downloaded. It needs the extra `hf`.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from PIL import Image

from must_tf.cli import app
from must_tf.experiments.labeling.measure import BATCH, Benchmark, Run
from must_tf.teachers import Teacher, TeacherSpec, load_teacher
from must_tf.teachers.model import optional

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "hf_benchmark.json", "JSON file for the results.", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.labeling.hf_benchmark"
    app.run(program, __doc__, FLAGS, lambda: BENCHMARK.run(_OUT.value), argv)


def compared(save: Callable[[Path], None], folder: Path, photos: Path) -> tuple[Teacher, Run]:
    """Returns the teacher of a random model, and the bare loop of it."""
    save(folder)
    return load_teacher(TeacherSpec.of("t", f"hf:{folder}")), bare(folder, photos)


def bare(model: Path, photos: Path) -> Run:
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


def vit(folder: Path, image_size: int = 224, layers: int = 12) -> None:
    """Saves a random classifier of the size of ViT-Tiny, and its image processor."""
    library = optional("transformers", "hf")
    config = library.ViTConfig(
        hidden_size=192, num_hidden_layers=layers, num_attention_heads=3, intermediate_size=768, image_size=image_size,
        num_labels=1000,
    )  # fmt: skip
    size = {"height": image_size, "width": image_size}
    _save(folder, library.ViTForImageClassification(config), library.ViTImageProcessorPil(size=size))


def yolos(folder: Path) -> None:
    """Saves a random detector of the size of YOLOS-Tiny with a quarter of its pixels, and its image processor."""
    library = optional("transformers", "hf")
    config = library.YolosConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, image_size=[256, 432],
        use_mid_position_embeddings=False, num_labels=91,
    )  # fmt: skip
    size = {"shortest_edge": 256, "longest_edge": 666}
    _save(folder, library.YolosForObjectDetection(config), library.YolosImageProcessorPil(size=size))


def small(folder: Path) -> Teacher:
    """Returns the teacher of a small random classifier."""
    vit(folder, 32, 1)
    return load_teacher(TeacherSpec.of("classes", f"hf:{folder}"))


def _save(folder: Path, model: Any, processor: Any) -> None:
    for part in (model, processor):
        part.save_pretrained(folder)


BENCHMARK = Benchmark(
    bare="bare transformers",
    models={"ViT-Tiny": functools.partial(compared, vit), "YOLOS-Tiny": functools.partial(compared, yolos)},
    small=small,
    photos=96,
    seconds=0.0,
    counts=(1_000, 10_000),
)

if __name__ == "__main__":
    run(sys.argv[1:])
