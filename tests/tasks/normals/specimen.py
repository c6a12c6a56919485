import numpy as np
import pytest
import tensorflow as tf
from specimens import VIEW, Specimen, extent, holes

from must_tf.tasks import Normals

NORMALS = Normals("normals")


class _Normals(Specimen):
    tasks = (NORMALS,)

    def random_label(self, task, rng, height, width):
        invalid, vectors = holes(rng, height, width), rng.normal(size=(height, width, 3))
        return np.where(invalid[..., None], 0, vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))

    def hard_label(self, task, rng):
        return self.random_label(task, rng, *VIEW)

    def empty_labels(self, task, height, width):
        return [np.zeros((height, width, 3)), np.full((height, width, 3), np.nan)]

    def assert_same(self, task, got, want):
        valid = np.any(want, -1)
        np.testing.assert_array_equal(np.any(got, -1), valid)
        unit = want[valid] / np.linalg.norm(want[valid], axis=-1, keepdims=True)
        cosine = np.clip((got[valid] * unit).sum(-1), -1, 1)
        assert np.degrees(np.arccos(cosine)).max(initial=0) < 0.6

    def assert_close(self, task, got, want, exact):
        valid = np.any(want, -1)
        np.testing.assert_allclose(got[valid], want[valid], atol=1e-4 if exact else 0.02)

    def random_prediction(self, task, rng, count, view=VIEW):
        return tf.constant(rng.normal(size=(count, view[0] // 4, view[1] // 4, 3)), tf.float32)

    def perfect_prediction(self, task, target):
        return target["normals"][tf.newaxis]

    def perfect_outputs(self, task, target):
        return {"normals": target["normals"]}

    def marker_label(self, task, inside):
        return np.where(inside[..., None], (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))

    def marked_box(self, task, values):
        return extent(values["normals"][..., 1] > 0.7)

    def assert_counted(self, task, label, found):
        assert found["valid"] == pytest.approx(np.any(label, -1).mean())


SPECIMEN = _Normals()
