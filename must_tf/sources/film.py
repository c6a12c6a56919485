"""Reads frames of films as images: every so many frames, in order. It needs PyAV."""

import functools
import glob
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, one_line
from must_tf.records import Quarantined, Record
from must_tf.sources.decoding import Look, decode, in_order, to_record
from must_tf.sources.images import common_folder, printable, split_evenly
from must_tf.sources.lookup import is_hidden
from must_tf.sources.source import Entry, Source, fingerprint, without_copies

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv")
_SPEC = re.compile(r"(.+?)(?:\[::(\d{1,9})\])?")
_QUALITY = 95  # of JPEG, without subsampling of colors: films have lost more

Frame = tuple[int, int]  # its number in the film, and when it is shown, in the film's own unit of time


def open_film(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens `FILM`, a folder or a glob of films; `[::N]` behind it takes every Nth frame, by default one per second.

    A frame is upright, and stored as a JPEG of quality 95. Its name is that of the film, `/`, and its number, from 0.
    A slice, as `[::30][:90%]`, has all frames of a film, or none. A film that cannot be opened, and a frame that cannot
    be decoded, are quarantined.

    Raises:
      UserError: PyAV is not installed; there is no film; or the step is 0.
    """
    _pyav(spec)
    match = _SPEC.fullmatch(spec)
    where, step = (match[1], match[2]) if match else (spec, None)
    if step and not int(step):
        raise UserError(f"film:{printable(spec)}: a step of 0 frames; expected such as [::30]")
    films = _films(where)
    if not films:
        raise UserError(
            f"film:{printable(spec)}: no film there; expected a film ({', '.join(SUFFIXES)}), a folder or a "
            "glob of them; [::30] behind it takes every 30th frame"
        )
    root = common_folder(where if Path(where).is_dir() else None, films)
    shards: list[Any] = []
    parts: list[str] = []
    count = 0
    for film in films:
        frames = _chosen(film, int(step or 0))
        parts.append(f"{film} {frames if isinstance(frames, str) else fingerprint(b'%d %d' % one for one in frames)}")
        if isinstance(frames, str):
            shards.append(functools.partial(read_unreadable, film, frames))
            count += 1
            continue
        for run in split_evenly(frames, math.ceil(len(frames) / images_per_shard)):
            shards.append(functools.partial(read_film, film, tuple(run), max_pixels, root=root))
        count += len(frames)
    return Source(count, fingerprint(part.encode("utf-8", "surrogateescape") for part in parts), (), {}, tuple(shards))


def read_film(
    path: str, frames: Sequence[Frame], max_pixels: int, root: str | None = None, look: Look = decode
) -> Iterator[Entry]:
    """Yields frames of a film as records without labels; copies of an earlier frame are quarantined."""
    inside = Path(path).relative_to(root) if root and Path(path).is_relative_to(root) else Path(Path(path).name)

    def look_at_frame(record: Record) -> object:
        record.group = Path(path).name
        return look(record)

    def entry(found: tuple[int, bytes | str]) -> Entry:
        number, data = found
        name = f"{printable(path)}: frame {number}"
        if isinstance(data, str):
            return Quarantined(name, f"cannot be decoded: {data}")
        made = to_record(name, data, max_pixels, look_at_frame)
        if not isinstance(made, Quarantined):
            made.filename = f"{inside.as_posix()}/{number:08}.jpg"
        return made

    return without_copies(in_order(entry, _decoded(path, frames)))


def read_unreadable(path: str, reason: str, look: Look = decode) -> Iterator[Entry]:
    """Yields the reason why a film has no frame."""
    del look
    yield Quarantined(printable(path), reason)


def is_film(where: str) -> bool:
    """Whether a name is that of a film, with or without a step behind it."""
    match = _SPEC.fullmatch(where)
    return bool(match) and match[1].lower().endswith(SUFFIXES) and Path(match[1]).is_file()  # type: ignore[index]


def _pyav(spec: str) -> Any:
    try:
        import av
    except ImportError:
        raise UserError(f"film:{printable(spec)}: films need PyAV; pip install 'must_tf[film]'") from None
    return av


def _films(where: str) -> list[str]:
    path = Path(where)
    if path.is_file():
        return [where]
    if path.is_dir():
        found = [one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES]
        return sorted(str(one) for one in found if not is_hidden(one.relative_to(path)))
    return sorted(name for name in glob.glob(where, recursive=True) if name.lower().endswith(SUFFIXES))


def _chosen(path: str, step: int) -> list[Frame] | str:
    """Returns every `step`th frame of a film, for 0 one per second; or why it has none. Nothing is decoded."""
    av = _pyav(path)
    try:
        with av.open(path) as film:
            if not film.streams.video:
                return "has no pictures, only sound"
            stream = film.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            packets = [packet for packet in film.demux(stream) if packet.size and not packet.is_discard]
            times = [packet.pts for packet in packets]
    except (OSError, ValueError, av.error.FFmpegError) as error:
        return f"is no film that FFmpeg reads: {one_line(error)}"
    if not times:
        return "has no frame"
    if None in times:
        return "does not say when its frames are shown; copy it with `ffmpeg -i FILM -c copy NEW.mp4`"
    return list(enumerate(sorted(set(times))))[:: step or max(1, round(rate or 1))]


def _decoded(path: str, frames: Sequence[Frame]) -> Iterator[tuple[int, bytes | str]]:
    """Yields the number of each frame with its JPEG, or with the reason why there is none."""
    av = _pyav(path)
    wanted = {time: number for number, time in frames}
    problem = "it is not there"
    try:
        with av.open(path) as film:
            stream = film.streams.video[0]
            stream.thread_type = "AUTO"
            film.seek(frames[0][1], stream=stream)
            for frame in film.decode(stream):
                if frame.pts in wanted:
                    yield wanted.pop(frame.pts), _jpeg(frame)
                if not wanted:
                    break
    except (OSError, ValueError, av.error.FFmpegError) as error:
        problem = one_line(error)
    for number in wanted.values():
        yield number, problem


def _jpeg(frame: Any) -> bytes:
    """Returns a frame, turned upright, as the bytes of a JPEG."""
    image = frame.to_image()
    if frame.rotation:
        image = image.rotate(frame.rotation, expand=True)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()
