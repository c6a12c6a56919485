"""Images without masks, with scores that are not finite, and of many pixels; see test_families for the masks of SAM."""

import types

import numpy as np
import pytest
from hf_models import torch

from must_tf.teachers.hf.sam import SamMasks

SIDE = 16  # of what the model sees


class Model:
    """The same sharp mask at every point; the score is the first pixel of the image."""

    def get_image_embeddings(self, pixel_values):
        return pixel_values[:, :1]

    def __call__(self, image_embeddings, input_points, input_labels):
        points = input_points.shape[1]
        masks = torch.full((1, points, 3, 4, 4), -900.0)
        masks[..., 1:3, 1:3] = 900
        return types.SimpleNamespace(pred_masks=masks, iou_scores=image_embeddings[0, 0, 0, 0].expand(1, points, 3))


class Processor:
    pad_size, size = ({"height": SIDE, "width": SIDE}, {"longest_edge": SIDE})

    def _get_preprocess_shape(self, size, longest):
        return tuple(int(side * longest / max(size) + 0.5) for side in size)


def run(scores, size=(SIDE, SIDE)):
    sizes = torch.tensor([size] * len(scores))
    pixels = torch.tensor(scores)[:, None, None, None].expand(-1, 3, SIDE, SIDE)
    return SamMasks().run(
        Model(), {"pixel_values": pixels, "original_sizes": sizes, "reshaped_input_sizes": sizes}, [{}]
    )


@pytest.mark.parametrize("scores", [(0.2, 0.95), (0.95, 0.2), (0.2, 0.2)])
def test_images_without_masks_go_together_with_others(scores):
    found = run(scores)
    counts = (found["scores"] > 0).sum(1).tolist()
    assert counts == [int(score > 0.88) for score in scores]
    assert found["masks"].shape == (2, max(counts), 4, 4)


def test_scores_that_are_not_finite_are_no_image_without_objects():
    found = run((0.95, float("nan"), 0.2))
    assert [bool(torch.isfinite(scores).all()) for scores in found["scores"]] == [True, False, True]


def test_masks_of_large_images_take_no_more_memory_than_those_of_other_models():
    outputs = types.SimpleNamespace(**run((0.95,), (12, 16)))
    for size, expected in (((3000, 4000), (768, 1024)), ((30, 40), (30, 40))):
        found = SamMasks().read(outputs, size, Processor())
        assert found["masks"].shape == (1, 1, *expected)
        assert found["masks"].mean() == pytest.approx(1 / 3, abs=0.1) and np.allclose(found["scores"], 0.95)
