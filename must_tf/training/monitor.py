"""What a run says of itself: metrics.jsonl and TensorBoard."""

import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.files import write_bytes

FILE = "metrics.jsonl"


class Monitor:
    """Gathers the values of each step, and writes their means now and then.

    Args:
      workdir: gets `metrics.jsonl` and the folder `tensorboard`.
      step: steps done; what an earlier run wrote beyond it is dropped, for it will be written again.
    """

    def __init__(self, workdir: str | os.PathLike, step: int):
        self.path = Path(workdir, FILE)
        kept = [line for line in read_metrics(workdir) if line["step"] <= step]
        write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self.writer = tf.summary.create_file_writer(str(Path(workdir, "tensorboard")))
        self.values: list[dict[str, tf.Tensor]] = []

    def add(self, values: dict[str, tf.Tensor]) -> None:
        """Takes the values of one step; they are not read before `write`."""
        self.values.append(values)

    def write(self, step: int, **extra: float) -> dict[str, float]:
        """Writes the means since the last call; returns them.

        Raises:
          UserError: a loss is not finite.
        """
        means = {name: float(np.mean([values[name].numpy() for values in self.values])) for name in self.values[0]}
        self.values = []
        for name, value in means.items():
            if not np.isfinite(value):
                raise UserError(
                    f"{self.path.parent}: {name} is {value} before step {step}; lower optimizer.learning_rate, "
                    "or set optimizer.clip_norm; the last checkpoint is kept"
                )
        entry = {"step": step} | means | extra
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")
        with self.writer.as_default(step=step):
            for name, value in (means | extra).items():
                tf.summary.scalar(name, value)
        self.writer.flush()
        return means


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, float]]:
    """Reads metrics.jsonl; a last line that was cut short is left out."""
    path = Path(workdir, FILE)
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
