"""On a GPU a model finds what it finds on the CPU: nothing is left on the wrong device, or read from it wrongly.

There is no GPU here. A device that refuses to mix its tensors with the CPU's stands for it.
"""

import hf_models
import numpy as np
import pytest
import toy
from hf_models import torch
from pretend_gpu import DEVICE, pretend_gpu

from must_tf.runtime import pytorch
from must_tf.teachers.hf import sam

FIELDS = {
    **{name: {"prompts": hf_models.PROMPTS} for name in ("clip", "siglip", "owlv2", "grounding_dino")},
    **{name: {"task": "features", "components": 4} for name in ("sam", "dinov2", "vit_backbone")},
    **{name: {"task": "instances"} for name in ("sam_of_masks", "detr_segmenter")},
}
QUICK = ("vit", "detr", "clip", "owlv2", "sam", "sam_of_masks")
OTHERS = (
    *("convnext", "rt_detr", "d_fine", "yolos", "segformer", "upernet", "mobilevit", "mask2former", "maskformer"),
    *("oneformer", "detr_segmenter", "depth_anything", "dpt", "zoedepth", "siglip", "grounding_dino", "dinov2"),
    "vit_backbone",
)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_outputs_are_those_of_the_cpu(name, saved, images, monkeypatch):
    monkeypatch.setattr(sam, "_SIDE", 8)  # points, of which one pass takes all
    found = []
    for context in (pytest.MonkeyPatch.context, lambda: pretend_gpu(monkeypatch)):
        with context():
            teacher = toy.load("t", f"hf:{saved(name)}", fields=FIELDS.get(name, {}))
            found.append(teacher.predict([teacher.view(image) for image in (images[0], images[3])], 2))
    assert {str(value.device) for value in teacher._model.state_dict().values()} == {DEVICE}
    for near, far in zip(*found, strict=True):
        assert near.keys() == far.keys() and all(values.dtype == np.float32 for values in far.values())
        for role, values in near.items():
            np.testing.assert_allclose(far[role], values, rtol=1e-3, atol=1e-4 * max(1, abs(values).max(initial=0)))


@pytest.mark.parametrize(
    ("broken", "problem"),
    [("_moved", "expected all tensors on one device, found far:0 and cpu"), ("cpu", "numpy")],
)
def test_the_device_tells_of_what_is_left_on_the_cpu_or_is_not_brought_back(
    broken, problem, saved, images, monkeypatch
):
    with pretend_gpu(monkeypatch):
        teacher = toy.load("t", f"hf:{saved('vit')}")
        if broken == "_moved":
            monkeypatch.setattr(teacher, "_moved", lambda inputs: inputs)
        else:
            monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)
        with pytest.raises((RuntimeError, TypeError), match=problem):
            teacher.predict([teacher.view(images[0])], 1)


def test_a_gpu_is_taken_where_pytorch_has_one(monkeypatch):
    assert pytorch.device() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pytorch.device() == "cuda"
