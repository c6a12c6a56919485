import numpy as np
import pytest
import tensorflow as tf
from specimens import VIEW, Specimen, extent, holes

from must_tf.tasks import Depth

DEPTH = Depth("depth")


class _Depth(Specimen):
    tasks = (DEPTH, Depth("inverse", convention="affine_inverse"))

    def random_label(self, task, rng, height, width):
        return np.where(holes(rng, height, width), np.nan, 10 ** rng.uniform(-1, 2, (height, width)))

    def hard_label(self, task, rng):
        return self.random_label(task, rng, *VIEW)

    def empty_labels(self, task, height, width):
        empty = [np.full((height, width), np.nan), np.full((height, width), -np.inf)]
        return empty if task.convention == "metric" else [*empty, np.full((height, width), 0.7)]

    def other_identities(self, task):
        return [Depth(task.name, convention="metric" if task.convention != "metric" else "affine_inverse")]

    def assert_same(self, task, got, want):
        valid = np.isfinite(want) & ((want > 0) | (task.convention != "metric"))
        np.testing.assert_array_equal(np.isfinite(got), valid)
        low, high = want[valid].min(), want[valid].max()
        bound = (high - low) / 131068 + 4e-7 * np.abs(want[valid]).max()  # and float32's own
        assert np.abs(got - want)[valid].max() <= bound

    def assert_close(self, task, got, want, exact):
        valid = np.isfinite(want)
        np.testing.assert_allclose(got[valid], want[valid], rtol=1e-4 if exact else 1e-2, atol=0 if exact else 0.02)

    def random_prediction(self, task, rng, count, view=VIEW):
        return tf.constant(rng.normal(size=(count, view[0] // 4, view[1] // 4, 1)), tf.float32)

    def perfect_prediction(self, task, target):
        depth = tf.where(target["valid"], target["depth"], 1.0)
        return (tf.math.log(depth) if task.convention == "metric" else depth)[tf.newaxis]

    def perfect_outputs(self, task, target):
        return {"depth": np.where(target["valid"], target["depth"], 1.0)}

    def marker_label(self, task, inside):
        return np.where(inside, 9.0, 1.0)

    def marked_box(self, task, values):
        return extent(values["depth"][..., 0] > 5)

    def assert_counted(self, task, label, found):
        assert found["valid"] == pytest.approx(np.isfinite(label).mean())
        assert found["mean"] == pytest.approx(np.nanmean(label))


SPECIMEN = _Depth()
