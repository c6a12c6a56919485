"""Measures `must label` against a bare loop over the same photographs, and its peak memory: for the benchmarks."""

import dataclasses
import functools
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from must_tf import storage
from must_tf.labeling import label
from must_tf.runtime.progress import peak_memory_gb
from must_tf.teachers import Teacher

BATCH, MIN_ROUNDS = 32, 3
Run = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What is measured.

    Attributes:
      bare: the name of the bare loops, in the text.
      models: by name, a function that saves a model in a folder, and returns its teacher and a bare loop over the
        photographs, all files of a second folder.
      small: saves a small classifier in a folder and returns its teacher; its memory is measured.
      photos: the number of photographs.
      seconds: for each model, rounds are repeated for so long, but at least `MIN_ROUNDS` times.
      counts: numbers of small images; for each, memory is measured in a process of its own.
    """

    bare: str
    models: Mapping[str, Callable[[Path, Path], tuple[Teacher, Run]]]
    small: Callable[[Path], Teacher]
    photos: int
    seconds: float
    counts: tuple[int, int]

    def run(self, out: str) -> None:
        """Measures, prints the results and writes them as JSON."""
        speed = {}
        with tempfile.TemporaryDirectory() as folder:
            photographs(photos := Path(folder, "photos"), self.photos)
            for name, make in self.models.items():
                teacher, bare = make(Path(folder, name), photos)
                speed[name] = self.compare(functools.partial(label_all, teacher, photos), bare)
        memory = {str(count): _in_own_process(functools.partial(peak, self.small, count)) for count in self.counts}
        results = {"speed": speed, "memory_gb": memory}
        print(self.text(results))
        storage.write_json(out, results)
        print(f"{out}: the same as JSON")

    def text(self, results: Mapping[str, Any]) -> str:
        """Returns the results as text."""
        lines = [
            f"{name}: must label {found['label']:.1f} images/s, {self.bare} {found['bare']:.1f} images/s: ratio "
            f"{found['ratio']:.2f} (goal: at least 0.9)"
            for name, found in results["speed"].items()
        ]
        peaks = [f"{int(count):,} images: {gb:.2f} GB at the peak" for count, gb in results["memory_gb"].items()]
        return "\n".join([*lines, "; ".join(peaks)])

    def compare(self, label_once: Run, bare_once: Run) -> dict[str, Any]:
        """Returns images/s of both, their ratio (medians over rounds), and all rounds as `turns`."""
        label_once(), bare_once()  # the first calls are slower
        started, rounds = time.monotonic(), list[tuple[float, float]]()
        while len(rounds) < MIN_ROUNDS or time.monotonic() - started < self.seconds:
            rounds.append((self._rate(label_once), self._rate(bare_once)))
        rates = np.array(rounds)
        labeled, bare = np.median(rates, axis=0)
        ratio = float(np.median(rates[:, 0] / rates[:, 1]))
        turns = [{"label": ours, "bare": theirs} for ours, theirs in rounds]
        return {"label": float(labeled), "bare": float(bare), "ratio": ratio, "turns": turns}

    def _rate(self, run: Run) -> float:
        """Returns images/s of a function that processes all photographs."""
        started = time.monotonic()
        run()
        return self.photos / (time.monotonic() - started)


def photographs(folder: Path, count: int) -> None:
    """Writes distinct JPEGs of 640 x 427 pixels: real photographs, shifted."""
    folder.mkdir()
    for i in range(count):
        image = np.roll(load_sample_images().images[i % 2], (7 * i, 11 * i), (0, 1))
        Image.fromarray(image).save(folder / f"{i}.jpg", quality=90)


def label_all(teacher: Teacher, photos: Path) -> None:
    """Labels all images of a folder, as `must label` does."""
    with tempfile.TemporaryDirectory() as out:
        label(photos, [teacher], Path(out, "out"), BATCH, allow_empty=True)


def peak(small: Callable[[Path], Teacher], count: int) -> float:
    """Labels `count` small images of three sizes, and returns the peak memory of this process in GB."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        for i in range(count):
            path = photos / f"{i // 1000}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (48 + 16 * (i % 3), 64, 3), np.uint8)).save(path)
        label_all(small(Path(folder, "small")), photos)
    return peak_memory_gb()


def _in_own_process(measure: Callable[[], float]) -> float:
    """Runs a measurement in a new process and returns its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure)
