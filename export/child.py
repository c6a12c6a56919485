"""Runs exported files in a new process, so that only what the files hold takes part."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from must_tf.errors import UserError, cut
from must_tf.export.formats import FORMATS

_REQUEST = "request.json"


class Job(NamedTuple):
    """One file on one batch of images.

    Attributes:
      format: name of the format; the file is loaded once for jobs of one file that follow each other.
      file: what `load` takes.
      images: which batch.
    """

    format: str
    file: str
    images: int


def run(jobs: Sequence[Job], images: Sequence[np.ndarray]) -> Iterator[Mapping[str, np.ndarray]]:
    """Does all jobs in a new process, on the CPU; yields the outputs of each job by name.

    Raises:
      UserError: a file cannot be loaded or run; its message is the last line of the process.
    """
    with tempfile.TemporaryDirectory(prefix="must-export-") as folder:
        Path(folder, _REQUEST).write_text(json.dumps(jobs))
        for i, batch in enumerate(images):
            np.save(_images(folder, i), batch)
        code = f"from {__name__} import main; main({folder!r})"
        own = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
        argv = [sys.executable, "-P", "-c", code]  # -P: a user's folder may have a keras.py or an onnx.py of its own
        done = subprocess.run(argv, env=os.environ | own, capture_output=True, text=True)
        for i, job in enumerate(jobs):
            if not _outputs(folder, i).exists():
                said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                raise UserError(
                    f"{Path(job.file).name}: a new process cannot run it: {cut(said, 300)}; the file was not kept"
                )
            yield dict(np.load(_outputs(folder, i)))


def main(folder: str) -> None:
    """Runs in the new process: reads the request, and writes the outputs beside it."""
    loaded = ""
    for i, job in enumerate(Job(*fields) for fields in json.loads(Path(folder, _REQUEST).read_text())):
        if job.file != loaded:
            function, loaded = FORMATS[job.format].load(Path(job.file)), job.file
        outputs = function(np.load(_images(folder, job.images)))
        temporary = Path(folder, "outputs.npz")
        np.savez(temporary, **outputs)
        temporary.rename(_outputs(folder, i))


def _images(folder: str, index: int) -> Path:
    return Path(folder, f"images-{index}.npy")


def _outputs(folder: str, index: int) -> Path:
    return Path(folder, f"outputs-{index}.npz")
