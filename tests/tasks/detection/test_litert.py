import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.interpreter import Interpreter

from must_tf import garden
from must_tf.tasks.detection.boxes import suppress
from must_tf.tasks.detection.litert import post_process

COUNT, CLASSES, MOST = 60, 3, 20


def test_litert_finds_the_boxes_that_suppression_leaves():
    """Many boxes overlap, some go beyond the view, and few are left in some images."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.6, (COUNT, 2))
    anchors = tf.constant(np.concatenate([corners, corners + rng.uniform(0.2, 0.4, (COUNT, 2))], 1), tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, COUNT, 4], tf.float32, name="offsets"),
            tf.TensorSpec([1, COUNT, CLASSES], tf.float32, name="scores"),
        ]
    )
    def serve(offsets, scores):
        return post_process(offsets, scores, anchors, MOST)

    module = tf.Module()
    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], module)
    converter.allow_custom_ops = True
    run = Interpreter(model_content=converter.convert()).get_signature_runner("serving_default")
    counts = []
    for sharp in (0.5, 4.0, 60.0):  # the higher, the fewer scores pass
        offsets = np.float32(rng.normal(0, 0.3, (1, COUNT, 4)))
        scores = np.float32(rng.uniform(0, 1, (1, COUNT, CLASSES)) ** sharp)
        wanted = suppress(garden.decode_boxes(offsets, anchors[tf.newaxis]), scores, MOST)
        found = run(offsets=offsets, scores=scores)
        counts.append((wanted["classes"].numpy() >= 0).sum())
        np.testing.assert_array_equal(found["classes"], wanted["classes"])
        np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=1e-6)
        np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=1e-6)
    assert counts[0] == MOST and 0 < counts[-1] < MOST
