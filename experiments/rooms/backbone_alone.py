"""Writes the backbone of a run without its pyramid, for transfer that starts from the backbone alone.

    python -m must_tf.experiments.rooms.backbone_alone --workdir=runs/must-0 --out=runs/must_backbone-0

What it writes is a checkpoint as Model Garden makes of a backbone, a value of `--init_from`.
"""

import os
import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from absl import flags

from must_tf.cli import app
from must_tf.saving import load_student, parts
from must_tf.storage import put_folder

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Of a finished run.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=FLAGS)
flags.mark_flags_as_required(["workdir", "out"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.backbone_alone", __doc__, FLAGS, main, argv)


def main() -> None:
    """Writes the checkpoint."""
    write(_WORKDIR.value, _OUT.value)
    print(f"{_OUT.value}: the backbone of {_WORKDIR.value}")


def write(workdir: str | os.PathLike, out: str | os.PathLike) -> None:
    """Writes a checkpoint of the backbone of a run's finished student.

    Args:
      workdir: of the run.
      out: folder of the checkpoint.
    """
    student = load_student(workdir)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder, out.name)
        tf.train.Checkpoint(backbone=parts(student)["backbone"]).save(str(made / "ckpt"))
        put_folder(made, out)


if __name__ == "__main__":
    run(sys.argv[1:])
