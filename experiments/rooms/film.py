"""Renders the frames of a film of one room: a camera that swings to and fro around the main object.

    python -m must_tf.experiments.rooms.film --room=90 --out=frames

The room is that of an image of a split of `must rooms`, counted from 0. The frames are PNG files in the order of their
names; `python -m must_tf.experiments.driving.video` draws on them what a student sees. The same flags give the same
frames.
"""

import io
import sys
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from must_tf import storage
from must_tf.cli import app
from must_tf.errors import UserError, nearest
from must_tf.sources.rooms import WORLDS, film
from must_tf.sources.rooms.dataset import SPLITS

FLAGS = flags.FlagValues()
_SPLIT = flags.DEFINE_string("split", "detection/test", "Split of `must rooms`.", flag_values=FLAGS)
_ROOM = flags.DEFINE_integer("room", 0, "Number of the image in the split.", 0, flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "frames", "Folder for the frames.", flag_values=FLAGS)
_SIZE = flags.DEFINE_integer("size", 320, "Height and width of a frame in pixels.", 32, flag_values=FLAGS)
_FRAMES = flags.DEFINE_integer("frames", 16, "Number of frames, of one swing to and fro.", 1, flag_values=FLAGS)
_DEGREES = flags.DEFINE_float("degrees", 20.0, "How far the camera swings to either side.", 0, 90, flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.film", __doc__, FLAGS, main, argv)


def main() -> None:
    """Renders and writes the frames."""
    count = write_frames(_SPLIT.value, _ROOM.value, _OUT.value, _SIZE.value, _FRAMES.value, _DEGREES.value)
    print(f"{_OUT.value}: {count} frames of {_SIZE.value} x {_SIZE.value} pixels")


def write_frames(split: str, room: int, out: str, size: int, frames: int, degrees: float) -> int:
    """Writes the frames of one swing, from the middle to both sides and back, and returns their number.

    Args:
      split: a key of `SPLITS`.
      room: number of the image in the split.
      out: folder of the frames.
      size: height and width of a frame in pixels.
      frames: their number.
      degrees: how far the camera swings to either side.

    Raises:
      UserError: there is no such split, or the folder holds files of another film.
    """
    if split not in SPLITS:
        raise UserError(f"--split={split}: no such split; {nearest(split, SPLITS)}")
    folder, names = Path(out), [f"{number:04}.png" for number in range(frames)]
    other = sorted({path.name for path in folder.glob("*")} - set(names))
    if other:
        raise UserError(f"--out={out}: holds {other[0]}, which is no frame of this film; give another folder")
    turns = (np.arange(frames) + 0.25) / frames  # a quarter of a step off the middle: no frame comes twice
    angles = np.radians(degrees) * np.sin(2 * np.pi * turns)
    known = SPLITS[split]
    for name, sample in zip(names, film(WORLDS[known.world], known.seed, room, size, angles), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(sample.image).save(buffer, "PNG")
        storage.write_bytes(folder / name, buffer.getvalue())
    return frames


if __name__ == "__main__":
    run(sys.argv[1:])
