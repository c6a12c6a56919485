import numpy as np
import pytest
import tensorflow as tf
from specimens import VIEW, Specimen, extent, holes

from must_tf.tasks import Segmentation

STUFF = Segmentation("stuff", ("wall", "floor", "rest"))
FINE = Segmentation("fine", tuple(f"class {i}" for i in range(300)), iou_weights={"class 7": 0.5, "class 299": 2.0})


def _known(task, label):
    return (label >= 0) & (label < task.num_classes)


class _Segmentation(Specimen):
    tasks = (STUFF, FINE)

    def random_label(self, task, rng, height, width):
        invalid = holes(rng, height, width)
        unknown = rng.choice([-1, task.num_classes, task.ignore], (height, width))
        return np.where(invalid, unknown, rng.integers(0, task.num_classes, (height, width)))

    def hard_label(self, task, rng):
        return self.random_label(task, rng, *VIEW)

    def empty_labels(self, task, height, width):
        return [np.full((height, width), task.ignore), np.full((height, width), -1)]

    def other_identities(self, task):
        return [Segmentation(task.name, ("sky", *task.class_names[1:]))]

    def assert_same(self, task, got, want):
        np.testing.assert_array_equal(got, np.where(_known(task, want), want, task.ignore))

    def assert_close(self, task, got, want, exact):
        np.testing.assert_array_equal(got[_known(task, want)], want[_known(task, want)])

    def random_prediction(self, task, rng, count, view=VIEW):
        return tf.constant(rng.normal(size=(count, view[0] // 4, view[1] // 4, task.num_classes)), tf.float32)

    def perfect_prediction(self, task, target):
        return 30.0 * tf.one_hot(target["mask"][..., 0], task.num_classes)[tf.newaxis]

    def perfect_outputs(self, task, target):
        mask = target["mask"][..., 0]
        return {"probs": np.eye(task.num_classes, dtype=np.float32)[np.where(mask == task.ignore, 0, mask)]}

    def marker_label(self, task, inside):
        return np.where(inside, 1, 0)

    def marked_box(self, task, values):
        return extent(values["mask"][..., 0] == 1 if "mask" in values else values["probs"][..., 1] > 0.5)

    def assert_counted(self, task, label, found):
        assert sum(found.values()) == pytest.approx(1)
        assert found.get("ignored", 0) == pytest.approx(1 - _known(task, label).mean())


SPECIMEN = _Segmentation()
