import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from specimens import VIEW, Specimen, holes

from must_tf.tasks.features import Features

FEATURES = Features("vectors", 8, 5, "1f" * 32)
_WHOLE = np.float32([0, 0, 1, 1])
_UNIT = 1 / 127  # of a stored grid whose largest number is 1; numbers so small round with next to no smooth L1


class _Features(Specimen):
    tasks = (FEATURES,)

    def random_label(self, task, rng, height, width):
        rows, columns = (int(rng.integers(1, 9)) for _ in range(2))
        grid = rng.normal(size=(rows, columns, task.channels)).astype(np.float32)
        grid[holes(rng, rows, columns)] = np.nan
        return {"grid": grid, "summary": _summary(task, rng), "extent": _WHOLE}

    def hard_label(self, task, rng):
        grid = rng.normal(size=(VIEW[0] // 16, VIEW[1] // 16, task.channels)).astype(np.float32)
        return {"grid": grid, "summary": _summary(task, rng), "extent": _WHOLE}

    def other_identities(self, task):
        return [dataclasses.replace(task, projection="2e" * 32), dataclasses.replace(task, channels=9)]

    def assert_same(self, task, got, want):
        np.testing.assert_array_equal(np.isfinite(got["grid"]), np.isfinite(want["grid"]))
        for key in ("grid", "summary"):
            bound = np.nanmax(np.abs(want[key])) / 254
            np.testing.assert_allclose(got[key], want[key], rtol=0, atol=bound * 1.001)
        np.testing.assert_allclose(got["extent"], want["extent"], rtol=1e-6)

    def assert_close(self, task, got, want, exact):
        if not exact:
            return self.assert_same(task, got, want)
        for key in ("grid", "summary", "extent"):
            np.testing.assert_allclose(got[key], want[key], atol=1e-5)

    def random_prediction(self, task, rng, count, view=VIEW):
        grid = rng.normal(size=(count, view[0] // 16, view[1] // 16, task.channels))
        summary = rng.normal(size=(count, task.summary))
        return {"grid": tf.constant(grid, tf.float32), "summary": tf.constant(summary, tf.float32)}

    def perfect_prediction(self, task, target):
        return {key: target[key][tf.newaxis] for key in ("grid", "summary")}

    def perfect_outputs(self, task, target):
        grid = np.where(target["valid"][..., None], target["grid"], np.nan)
        return {"grid": grid, "summary": target["summary"]}

    def marker_label(self, task, inside):
        """Each cell, of one pixel, holds its place and the corners of the box, in half pixels times `_UNIT`; and 1."""
        height, width = inside.shape
        grid = np.zeros((height, width, task.channels), np.float32)
        grid[..., 1], grid[..., 2] = 2 * np.arange(height)[:, None] + 1, 2 * np.arange(width) + 1
        if inside.any():
            y, x = np.nonzero(inside)
            grid[..., 3:7] = 2 * np.array([y.min(), x.min(), y.max() + 1, x.max() + 1])
        grid *= _UNIT
        grid[..., 0] = 1 if inside.any() else -1
        return {"grid": grid, "summary": np.ones(task.summary, np.float32), "extent": _WHOLE}

    def marked_box(self, task, values):
        """Finds where the places that cells hold are those of the corners: both are linear in the cell's place."""
        grid = np.asarray(values["grid"])
        known = np.isfinite(grid).all(-1) & np.asarray(values.get("valid", True)) & (grid[..., 0] > 0.5)
        if known.sum() < 2 or min(len(np.unique(axis)) for axis in np.nonzero(known)) < 2:
            return None
        extent = np.asarray(values.get("extent", _WHOLE))
        box = np.zeros(4)
        for axis in (0, 1):
            count = grid.shape[axis]
            at = extent[axis] + (np.nonzero(known)[axis] + 0.5) / count * (extent[axis + 2] - extent[axis])
            slope, start = np.polyfit(at, grid[known][:, 1 + axis], 1)
            corners = grid[known][:, 3:7].mean(0)[[axis, axis + 2]]
            box[[axis, axis + 2]] = np.sort((corners - start) / slope)
        clipped = np.clip(box, 0, 1)
        return clipped if (clipped[2:] > clipped[:2]).all() else None

    def assert_counted(self, task, label, found):
        assert found["valid"] == pytest.approx(np.isfinite(label["grid"]).all(-1).mean())


def _summary(task, rng):
    return rng.normal(size=task.summary).astype(np.float32)


SPECIMEN = _Features()
