import json

import numpy as np
import pytest
import toy

from must_tf.errors import UserError

cv = pytest.importorskip("keras_cv")
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


def backbone():
    return cv.models.ResNetBackbone(
        stackwise_filters=[64, 8, 8, 8],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        include_rescaling=True,
    )


def save(model, folder, task, **card):
    from keras_cv.src.utils.preset_utils import save_to_preset  # the library has no public name for it

    save_to_preset(model, str(folder))
    card = {"task": task, "range": [0, 255], "input_size": [64, 64], "class_names": ["a", "b", "c"]} | card
    folder.with_name(f"{folder.name}.card.json").write_text(json.dumps(card))
    return f"kerascv:{folder}"


def test_classifier_gives_what_predict_gives(tmp_path):
    model = cv.models.ImageClassifier(backbone=backbone(), num_classes=3)
    where = save(model, tmp_path / "preset", "classification")
    expected = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(toy.load("t", where)(IMAGES)["probs"], expected, rtol=1e-4, atol=1e-6)
    assert "task: classification\n" in toy.describe(where)


def test_detector_gives_what_predict_gives(tmp_path):
    model = cv.models.RetinaNet(num_classes=3, bounding_box_format="xywh", backbone=backbone())
    model.classification_head.prediction_layer.bias.assign(np.zeros(27))  # else nothing is found
    where = save(model, tmp_path / "preset", "detection")
    outputs = toy.load("t", where)(IMAGES)
    expected = model.predict(IMAGES.astype(np.float32), verbose=0)
    count = int(expected["num_detections"][0])
    assert count > 0
    x, y, w, h = np.moveaxis(expected["boxes"][0, :count] / 64, -1, 0)
    np.testing.assert_allclose(outputs["scores"][0, :count], expected["confidence"][0, :count], rtol=1e-4)
    np.testing.assert_allclose(
        outputs["boxes"][0, :count], np.clip(np.stack([y, x, y + h, x + w], -1), 0, 1), atol=1e-4
    )


def test_preset_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="kerascv:no-such-preset: cannot be loaded"):
        toy.describe("kerascv:no-such-preset")
