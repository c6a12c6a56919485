import numpy as np
import tensorflow as tf
from specimens import VIEW, Specimen

from must_tf.tasks import Classification

SCENE = Classification("scene", ("indoor", "outdoor", "neither"))


class _Classification(Specimen):
    tasks = (SCENE, Classification("many", tuple(f"class {i}" for i in range(40)), top_k=4))

    def random_label(self, task, rng, height, width):
        if rng.random() < 0.5:
            return int(rng.integers(task.num_classes))
        return rng.dirichlet(np.full(task.num_classes, 0.5)).astype(np.float32)

    def hard_label(self, task, rng):
        return 1

    def other_identities(self, task):
        return [Classification(task.name, (*task.class_names[::-1],))]

    def assert_same(self, task, got, want):
        if np.ndim(want) == 0:
            assert got == want and isinstance(got, int)
        elif task.top_k:
            top = np.argsort(-want, kind="stable")[: task.top_k]
            np.testing.assert_array_equal(got[top], want[top])
            others = np.delete(got, top)
            np.testing.assert_allclose(others, (1 - want[top].sum()) / len(others), atol=1e-6)
        else:  # the second term: float16 is even below 6e-5
            assert (np.abs(got - want) <= want * 2.0**-11 + 2.0**-25).all()

    def assert_close(self, task, got, want, exact):
        assert np.argmax(got) == want

    def random_prediction(self, task, rng, count, view=VIEW):
        return tf.constant(rng.normal(size=(count, task.num_classes)), tf.float32)

    def perfect_prediction(self, task, target):
        return 30.0 * target["probs"][tf.newaxis]

    def perfect_outputs(self, task, target):
        return {"probs": np.eye(task.num_classes, dtype=np.float32)[int(np.argmax(target["probs"]))]}

    def assert_counted(self, task, label, found):
        assert sum(found.values()) == 1


SPECIMEN = _Classification()
