import numpy as np
import tensorflow as tf
from specimens import VIEW, Specimen

from must_tf.tasks import Classification

SCENE = Classification("scene", ("indoor", "outdoor", "neither"))
TAGS = Classification("tags", ("person", "dog", "car", "tree"), multi_label=True)
MANY = tuple(f"class {i}" for i in range(40))


class _Classification(Specimen):
    tasks = (
        SCENE,
        Classification("many", MANY, top_k=4),
        TAGS,
        Classification("many_tags", MANY, top_k=4, multi_label=True),
    )
    empty_is_label = True  # of multi-label tasks; the others have no empty labels

    def random_label(self, task, rng, height, width):
        if task.multi_label:
            probs = (rng.random(task.num_classes) ** 4).astype(np.float32)
            return probs > 0.5 if rng.random() < 0.5 else probs
        if rng.random() < 0.5:
            return int(rng.integers(task.num_classes))
        return rng.dirichlet(np.full(task.num_classes, 0.5)).astype(np.float32)

    def hard_label(self, task, rng):
        return np.arange(task.num_classes) % (task.num_classes // 4 + 1) == 1 if task.multi_label else 1

    def empty_labels(self, task, height, width):
        if not task.multi_label:
            return []
        return [np.zeros(task.num_classes, bool), np.zeros(task.num_classes, np.float32)]

    def other_identities(self, task):
        classes = task.class_names
        return [
            Classification(task.name, classes[::-1], multi_label=task.multi_label),
            Classification(task.name, classes, multi_label=not task.multi_label),
        ]

    def assert_same(self, task, got, want):
        assert np.asarray(got).dtype.kind == np.asarray(want).dtype.kind and np.shape(got) == np.shape(want)
        if np.asarray(want).dtype.kind in "ib":
            np.testing.assert_array_equal(got, want)
        elif task.top_k:
            top = np.argsort(-want, kind="stable")[: task.top_k]
            np.testing.assert_array_equal(got[top], want[top])
            others = np.delete(got, top)
            total = want.sum() if task.multi_label else 1
            np.testing.assert_allclose(others, (total - want[top].sum()) / len(others), atol=1e-6)
        else:  # the second term: float16 is even below 6e-5
            assert (np.abs(got - want) <= want * 2.0**-11 + 2.0**-25).all()

    def assert_close(self, task, got, want, exact):
        if task.multi_label:
            np.testing.assert_array_equal(got >= 0.5, want)
        else:
            assert np.argmax(got) == want

    def random_prediction(self, task, rng, count, view=VIEW):
        return tf.constant(rng.normal(size=(count, task.num_classes)), tf.float32)

    def perfect_prediction(self, task, target):
        return 30.0 * (target["probs"] - 0.5 * task.multi_label)[tf.newaxis]

    def perfect_outputs(self, task, target):
        if task.multi_label:
            return {"probs": np.asarray(target["probs"])}
        return {"probs": np.eye(task.num_classes, dtype=np.float32)[int(np.argmax(target["probs"]))]}

    def assert_counted(self, task, label, found):
        assert set(found.values()) <= {1}
        if task.multi_label:
            assert set(found) == {name for name, prob in zip(task.class_names, label, strict=True) if prob >= 0.5}
        else:
            assert len(found) == 1


SPECIMEN = _Classification()
