"""Logs of a run: metrics.jsonl, bad_batches.jsonl and TensorBoard."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.parsing import load_object, parse, read_text, short
from must_tf.storage import naming, write_bytes

FILE, BAD = "metrics.jsonl", "bad_batches.jsonl"
_MOST_BYTES = 2**30  # of a file: a run of a million steps that writes each of them


class Monitor:
    """Gathers the values of each step, and writes their means at each log.

    The files are the same whether a run was killed in between or not. So what depends on the clock goes to TensorBoard
    only.

    Args:
      workdir: gets the files, and the folder `tensorboard`; None writes nothing.
      step: steps done; lines of later steps are dropped, because the run writes them again.
      state: what `state` returned at this step.
      rollbacks: how often the run went back so far; bad batches from before it went back stay in the file.
    """

    def __init__(
        self, workdir: str | os.PathLike | None, step: int, state: Mapping[str, Any] | None = None, rollbacks: int = 0
    ):
        self.workdir, self.rollbacks = workdir and Path(workdir), rollbacks
        self._values: list[Mapping[str, tf.Tensor]] = list((state or {}).get("values", []))
        self._bad: int = (state or {}).get("bad", 0)
        self._told: int = (state or {}).get("told", 0)
        self.writer = tf.summary.create_noop_writer()
        if self.workdir:
            _keep(self.workdir / FILE, lambda line: line["step"] <= step)
            told = step - len(self._values) + self._told
            _keep(self.workdir / BAD, lambda line: line["rollbacks"] < rollbacks or line["step"] <= told)
            self.writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard"))

    def add(self, values: Mapping[str, tf.Tensor]) -> None:
        """Adds the values of one step; they are read by `bad` and `write`, so that the step is not waited for."""
        self._values.append(values)

    def state(self) -> dict[str, Any]:
        """Returns what was gathered and not yet written, as JSON values."""
        return {"values": [_floats(values) for values in self._values], "bad": self._bad, "told": self._told}

    @property
    def row(self) -> int:
        """How many steps in a row, up to the last one, were bad."""
        return (self._rows() or [self._bad])[-1]

    def bad(self, step: int) -> tuple[list[int], int]:
        """Returns the steps since the last call that were not applied, and the length of the longest row of such steps.

        The row may have begun before the last call. A float16 step that was not applied because the loss scale was too
        high is not counted.

        Args:
          step: the last one.
        """
        rows, told = self._rows(), self._told
        self._told = len(rows)
        first = step - len(rows) + 1
        return [first + i for i, row in enumerate(rows) if row and i >= told], max(rows[told:], default=0)

    def record_bad(self, step: int, images: Sequence[str]) -> None:
        """Writes the images of a batch whose loss or gradient was not finite to bad_batches.jsonl."""
        if self.workdir:
            _append(self.workdir / BAD, {"step": step, "rollbacks": self.rollbacks, "images": list(images)})

    def write(self, step: int, facts: Mapping[str, float], clock: Mapping[str, float]) -> dict[str, float]:
        """Writes the means over the steps since the last call that were applied; returns them.

        Args:
          step: the last one.
          facts: other values, for the files and TensorBoard.
          clock: values that depend on the machine, for TensorBoard only.
        """
        steps = [_floats(values) for values in self._values]
        self._bad, self._values, self._told = self.row, [], 0
        good = [values for values in steps if values["applied"]]
        known: dict[str, list[float]] = {}
        for values in good:
            for name, value in values.items():
                if name != "applied" and not math.isnan(value):  # such as the cosine with an absent task
                    known.setdefault(name, []).append(value)
        means = {name: float(np.mean(values)) for name, values in known.items()}
        if len(good) < len(steps):
            means["not_applied"] = len(steps) - len(good)
        told = means | {name: value for name, value in facts.items() if math.isfinite(value)}  # no NaN is JSON
        if self.workdir:
            _append(self.workdir / FILE, {"step": step} | told)
        with self.writer.as_default(step=step):
            for name, value in (told | dict(clock)).items():
                tf.summary.scalar(name, value)
        self.writer.flush()
        return means

    def text(self, name: str, text: str) -> None:
        """Shows a text in TensorBoard."""
        with self.writer.as_default(step=0):
            tf.summary.text(name, text)

    def pictures(self, step: int, pictures: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Shows pictures in TensorBoard: by name, uint8 [H, W, 3] of any sizes."""
        with self.writer.as_default(step=step):
            for name, images in pictures.items():
                for i, image in enumerate(images):
                    tf.summary.image(f"{name}/{i}", image[np.newaxis])

    def _rows(self) -> list[int]:
        """For each step since the last `write`: how many in a row, up to it, were bad."""
        rows, row = [], self._bad
        for values in self._values:
            losses = [float(value) for name, value in values.items() if name.startswith("loss/")]
            lost = not all(map(math.isfinite, losses))  # these are from before the loss scale
            bad = not float(values["applied"]) and (lost or float(values.get("loss_scale", 1.0)) <= 1.0)
            row = row + 1 if bad else 0
            rows.append(row)
        return rows


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, float]]:
    """Reads metrics.jsonl; a last line that was cut short is left out, any other that is damaged a `UserError`."""
    return _read(Path(workdir, FILE))


def read_bad_batches(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads bad_batches.jsonl: {"step", "rollbacks", "images": ids} of each step that was not applied."""
    return _read(Path(workdir, BAD))


def _read(path: Path) -> list[dict[str, Any]]:
    """Reads a file of a JSON object per line."""
    found = []
    text = read_text(path, most_bytes=_MOST_BYTES) if path.exists() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.endswith("\n"):
            try:
                found.append(_checked(path.name, load_object(line, where := f"{path}: line {number}"), where))
            except UserError as error:
                raise UserError(f"{error}; delete the line, or train again") from None
    return found


def _checked(file: str, line: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns a line of a file, unless it has not what such a line needs."""
    for name in ("step",) if file == FILE else ("step", "rollbacks"):
        parse(int, line.get(name), where, name)
    for name, value in line.items():
        if file == FILE and (isinstance(value, bool) or not isinstance(value, int | float)):  # it may be NaN
            raise UserError(f"{where}: {name}: {short(value)} received; expected a number")
    return line


def _keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    if path.exists():
        write_bytes(path, "".join(json.dumps(line) + "\n" for line in _read(path) if wanted(line)).encode())


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with naming(path), open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
