"""Draws what a student sees on the frames of a film.

    python -m must_tf.experiments.driving.video --student=runs/joint --images='drive.mp4[::3]' --out=seen.gif

--images is what `must label --images` opens: a film, or a folder of frames in the order of their names. Masks are drawn
first, without their first class, which is the background. --tasks says what is drawn: maps, such as depth, hide what
was drawn before them. A GIF needs nothing more; an mp4 needs PyAV (`must_tf[film]`).
"""

import io
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from must_tf import storage
from must_tf.cli import app
from must_tf.errors import UserError, nearest
from must_tf.inference import predict
from must_tf.records import Quarantined, Record
from must_tf.runtime.progress import Progress
from must_tf.saving import load_student, read_input_size
from must_tf.sources import open_source
from must_tf.tasks import Detection, Instances, Segmentation, Task, drawing

FLAGS = flags.FlagValues()
_STUDENT = flags.DEFINE_string("student", None, "Workdir of a finished run.", flag_values=FLAGS)
_IMAGES = flags.DEFINE_string("images", None, "Film, or folder of frames.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "File to write, .gif or .mp4.", flag_values=FLAGS)
_FPS = flags.DEFINE_float(
    "fps", 10.0, "Frames per second, 1 to 50; a GIF rounds the time of each to 1/100 s.", 1, 50, flag_values=FLAGS
)
_COLORS = flags.DEFINE_integer(
    "colors", 256, "Colors of each frame of a GIF; fewer make the file smaller.", 2, 256, flag_values=FLAGS
)
_TASKS = flags.DEFINE_list("tasks", None, "Tasks that are drawn; by default all.", flag_values=FLAGS)
_WIDTH = flags.DEFINE_integer("width", 640, "Width of the file in pixels, 32 or more.", 32, flag_values=FLAGS)
flags.mark_flags_as_required(["student", "images", "out"], flag_values=FLAGS)

GIF, MP4 = ".gif", ".mp4"
_NUMBER = re.compile(r"[0-9]+")
_TINT = 0.5  # share of the color of a class


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.driving.video", __doc__, FLAGS, main, argv)


def main() -> None:
    """Draws the frames and writes the file."""
    out = Path(_OUT.value)
    if out.suffix.lower() not in (GIF, MP4):
        raise UserError(f"--out={_OUT.value}: expected a file that ends with {GIF} or {MP4}")
    if out.suffix.lower() == MP4:
        _pyav(out)
    count = film(_STUDENT.value, _IMAGES.value, out, _FPS.value, _WIDTH.value, _TASKS.value, _COLORS.value)
    print(f"{out}: {count} frames at {_FPS.value:g} per second, {_even(_WIDTH.value)} pixels wide")


def film(
    workdir: str | os.PathLike,
    images: str,
    out: Path,
    fps: float,
    width: int,
    tasks: Sequence[str] | None = None,
    colors: int = 256,
) -> int:
    """Writes a film of a student's predictions; returns its number of frames.

    Args:
      workdir: of a finished run.
      images: what `open_source` opens.
      out: file of the film, .gif or .mp4.
      fps: frames per second.
      width: of the film in pixels; the height follows from the first frame, and both are even.
      tasks: names of the tasks that are drawn, in this order; by default all.
      colors: of each frame of a GIF, 2 to 256.

    Raises:
      UserError: no frame can be read; frames differ in shape, or are not in the order of their numbers; the student
        has no such task; there is no PyAV for an mp4.
    """
    student, view_size = load_student(workdir), read_input_size(workdir)
    shown = _chosen(student.tasks, tasks)
    source = open_source(images)
    entries = itertools.chain.from_iterable(shard() for shard in source.shards)
    frames = _resized(_read(entries, source.count, images), width)
    drawn = (
        Image.fromarray(draw(pixels, predict(student, frame.encoded, view_size, pixels.shape[:2]), shown))
        for frame, pixels in frames
    )
    first = next(drawn, None)
    if first is None:
        raise UserError(f"--images={images}: has no frame that can be read")
    counted = _Counted(itertools.chain([first], drawn))
    storage.write_bytes(out, _gif(counted, fps, colors) if out.suffix.lower() == GIF else _mp4(counted, fps, out))
    return counted.count


def draw(image: np.ndarray, labels: Mapping[str, Any], tasks: Mapping[str, Task]) -> np.ndarray:
    """Draws the labels of several tasks on one image, uint8 [H, W, 3]; the masks first.

    A class of a mask has the color of the boxes of its name, and another one than boxes of other names.

    Args:
      image: uint8 [H, W, 3].
      labels: {task: label in the frame of the image}.
      tasks: the tasks by name.
    """
    masks = [task for task in tasks.values() if isinstance(task, Segmentation)]
    boxes = [task for task in tasks.values() if isinstance(task, Detection | Instances)]
    names = [name for task in boxes for name in task.class_names]
    names += [name for mask in masks for name in mask.class_names[1:]]
    names = [*dict.fromkeys(names)]  # boxes first, in the colors that they have
    palette = dict(zip(names, drawing.colors(len(names)), strict=True))
    drawn = image.copy()
    for mask in masks:
        for number, name in enumerate(mask.class_names[1:], 1):
            inside = np.asarray(labels[mask.name]) == number
            drawn[inside] = (_TINT * palette[name] + (1 - _TINT) * drawn[inside]).astype(np.uint8)
    for name, task in tasks.items():
        if not isinstance(task, Segmentation):
            drawn = task.draw(drawn, labels[name])
    return drawn


class _Counted:
    """An iterable that counts what it has yielded."""

    def __init__(self, values: Iterable[Image.Image]):
        self._values, self.count = values, 0

    def __iter__(self) -> Iterator[Image.Image]:
        for value in self._values:
            self.count += 1
            yield value


def _chosen(tasks: Mapping[str, Task], names: Sequence[str] | None) -> dict[str, Task]:
    """Returns the tasks that are drawn, by name."""
    for name in names or ():
        if name not in tasks:
            raise UserError(f"--tasks={name}: the student has no such task; {nearest(name, tasks)}")
    return {name: tasks[name] for name in names or tasks}


def _read(entries: Iterable[Any], count: int, images: str) -> Iterator[Record]:
    """Yields the frames; says how many cannot be shown, and why the first cannot.

    Sources leave out copies of an earlier image. One of the frame before it is shown: the camera has stood still.

    Raises:
      UserError: frames are numbered, and their names are in another order.
    """
    progress, bad, last = Progress("draw", count), list[Quarantined](), None
    for entry in entries:
        if isinstance(entry, Record):
            if last and _numbers(entry) < _numbers(last) and _text(entry) == _text(last):
                raise UserError(
                    f"--images={images}: {entry.name} comes after {last.name}, as by name; fill the numbers with zeros"
                )
            last = entry
            yield entry
        elif last and isinstance(entry, Quarantined) and entry.id == last.id:
            yield last
        elif isinstance(entry, Quarantined):
            bad.append(entry)
        progress.update(1)
    if bad:
        left_out = f"{len(bad)} of {count} frames left out, the first"
        print(f"{images}: {left_out}: {bad[0].name}: {bad[0].reason}", file=sys.stderr)


def _numbers(frame: Record) -> list[int]:
    return [int(number) for number in _NUMBER.findall(frame.name)]


def _text(frame: Record) -> str:
    return _NUMBER.sub("", frame.name)


def _resized(frames: Iterable[Record], width: int) -> Iterator[tuple[Record, np.ndarray]]:
    """Yields the frames with their pixels in the size of the film, uint8 [H, W, 3].

    Raises:
      UserError: a frame has another shape than the first one.
    """
    first = None
    for frame in frames:
        first = first or frame
        shape = first.height, first.width
        if (frame.height, frame.width) != shape:
            raise UserError(
                f"{frame.name}: is {frame.height} x {frame.width} pixels (height x width), the first frame "
                f"{shape[0]} x {shape[1]}; take it out, or make a film of each size"
            )
        size = _even(width), max(2, round(_even(width) * shape[0] / shape[1] / 2) * 2)
        with Image.open(io.BytesIO(frame.encoded)) as image:
            yield frame, np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def _even(width: int) -> int:
    """Returns the width that a film has if `width` is asked for: encoders of mp4 take even ones alone."""
    return width // 2 * 2


def _gif(frames: Iterable[Image.Image], fps: float, colors: int) -> bytes:
    buffer, reduced = io.BytesIO(), (frame.quantize(colors) for frame in frames)
    next(reduced).save(buffer, "GIF", save_all=True, append_images=reduced, duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


def _mp4(frames: Iterable[Image.Image], fps: float, out: Path) -> bytes:
    av = _pyav(out)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            if not number:  # the encoder opens with the first frame
                stream.width, stream.height = frame.size
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _pyav(out: Path) -> Any:
    try:
        import av
    except ImportError:
        raise UserError(f"--out={out}: an mp4 needs PyAV; pip install 'must_tf[film]', or take a {GIF}") from None
    return av


if __name__ == "__main__":
    run(sys.argv[1:])
