"""Measures how fast exported files are, as ratios in one run: python -m must_tf.experiments.export.benchmark.

Writes the backbone and pyramid of a student, ResNet-50 at 224 px by default; prints, and writes as JSON:

1. ONNX Runtime over SavedModel, on the CPU;
2. LiteRT int8 over float32, one image at a time;
3. ONNX of ours over ONNX exported from PyTorch of the same network, where torch is installed;
4. the first call of each, with what comes before it: loading.

Every ratio is the median of the rounds' ratios; the two take turns, round by round.
"""

import functools
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.timing import in_turns
from must_tf.export import FORMATS, endpoints
from must_tf.export.onnx import OPSET
from must_tf.export.parity import Runner
from must_tf.student import Student
from must_tf.tasks import Segmentation
from must_tf.training.variables import trunk_variables
from must_tf.trunk import Trunk

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_BACKBONE = flags.DEFINE_string("backbone", "resnet-50", "The network.", flag_values=FLAGS)
_SIDE = flags.DEFINE_integer("side", 224, "Height and width in pixels.", 1, flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Number of rounds of which the medians are taken.", 1, flag_values=FLAGS)

BATCH = 4
Result = dict[str, Any]


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.export.benchmark"
    app.run(program, __doc__, FLAGS, lambda: main(_OUT.value, _BACKBONE.value, _SIDE.value, _ROUNDS.value), argv)


def main(out: str, backbone: str, side: int, rounds: int) -> None:
    """Exports, measures, prints and writes."""
    tf_keras.utils.set_random_seed(0)
    student = Student([Segmentation("stuff", ("wall", "floor", "rest"))], Trunk(backbone))
    with tempfile.TemporaryDirectory() as folder:
        results = measure(student, Path(folder), side, rounds)
    print(text(results))
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def measure(student: Student, folder: Path, side: int, rounds: int) -> dict[str, Result]:
    """Writes the backbone in each format, and times the files on random images of one size."""
    facts = {
        **endpoints.contract(True),
        "litert": {"size": [side, side], "records": "", "images": 8},
        "outputs": {"backbone": endpoints.shapes(student, "backbone")},
        **dict.fromkeys(("must_tf", "name", "weights_sha256", "trunk", "levels"), ""),
        "tasks": [],
        "lineage": [],
    }
    images = np.random.default_rng(0).uniform(0, 255, [BATCH, side, side, 3]).astype(np.float32)
    first, runners = {}, {}
    parts = [
        ("savedmodel", "backbone"),
        ("onnx", "backbone"),
        ("litert", "backbone.float32"),
        ("litert", "backbone.int8"),
    ]
    for format, part in ((FORMATS[name], part) for name, part in parts):
        path = format.path(part)
        format.write(student, part, folder / path, facts)
        started = time.perf_counter()
        runners[path] = format.load(folder / path)
        loaded = time.perf_counter()
        runners[path](images[:1])
        first[path] = {"load_ms": 1000 * (loaded - started), "call_ms": 1000 * (time.perf_counter() - loaded)}
    saved, onnx, real, whole = runners.values()
    return {
        "first": first,
        "onnx_over_savedmodel": compare(onnx, saved, images, rounds),
        "int8_over_float32": compare(whole, real, images[:1], rounds),
        "ours_over_torch": against_torch(student, folder, images, rounds),
    }


def against_torch(student: Student, folder: Path, images: np.ndarray, rounds: int) -> Result:
    """Our backbone and pyramid against the same network written in PyTorch, both in ONNX Runtime.

    Ours takes images [batch, H, W, 3], PyTorch's [batch, 3, H, W]: each gets its own, and normalizes within.
    """
    if importlib.util.find_spec("torch") is None:
        return {"skipped": "torch is not installed; ONNX of ours over ONNX from PyTorch was left out"}
    import torch

    from must_tf.experiments import torch_student

    trunk = student.architecture.trunk
    if trunk.backbone not in torch_student.BACKBONES:
        return {"skipped": f"{trunk.backbone} is not written in PyTorch; known: {', '.join(torch_student.BACKBONES)}"}
    theirs = torch_student.Features(trunk).eval()
    parameters = sum(values.numel() for values in theirs.parameters())
    assert parameters == sum(int(np.prod(variable.shape)) for variable in trunk_variables(student))
    file, example = folder / "torch.onnx", np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    axes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        theirs,
        (torch.from_numpy(example),),
        str(file),
        input_names=["images"],
        output_names=["C5", *(f"P{level}" for level in trunk.levels)],
        dynamic_axes={"images": axes},
        opset_version=OPSET,
        dynamo=False,  # the newer exporter needs a package more
    )
    onnx = FORMATS["onnx"]
    run_ours, run_theirs = onnx.load(folder / onnx.path("backbone")), onnx.load(file)
    result = compare(run_ours, lambda _: run_theirs(example), images, rounds)
    return result | {"parameters": parameters, "torch": torch.__version__}


def compare(one: Runner, other: Runner, images: np.ndarray, rounds: int) -> Result:
    """Runs two in turns, after a first time that does not count; the ratio is the median of the rounds' ratios."""
    times = in_turns([functools.partial(run, images) for run in (one, other)], rounds)
    medians = 1000 * np.median(times, axis=0)
    ratio = float(np.median(times[:, 0] / times[:, 1]))
    return {"ratio": ratio, "first_ms": float(medians[0]), "second_ms": float(medians[1]), "batch": len(images)}


def text(results: dict[str, Result]) -> str:
    """Returns one line per measurement."""
    names = {
        "onnx_over_savedmodel": "ONNX Runtime over SavedModel, CPU",
        "int8_over_float32": "LiteRT int8 over float32",
        "ours_over_torch": "ONNX of ours over ONNX from PyTorch (goal: at most 1.05)",
    }
    lines = [f"{words}: {_one(results[name])}" for name, words in names.items()]
    for name, entry in results["first"].items():
        lines.append(f"{name}: loaded in {entry['load_ms']:.0f} ms, first call {entry['call_ms']:.0f} ms")
    return "\n".join(lines)


def _one(result: Result) -> str:
    if "skipped" in result:
        return result["skipped"]
    times = f"{result['first_ms']:.1f} ms and {result['second_ms']:.1f} ms"
    return f"{result['ratio']:.2f} ({times}, batch {result['batch']})"


if __name__ == "__main__":
    run(sys.argv[1:])
