"""What a model finds in a view is labeled where it is in the image, whatever the processor crops and pads.

A model that has learned its targets gives them, so that the targets that the processor makes of labels come back as
these labels.
"""

import json
import shutil

import hf_models
import numpy as np
import pytest
import toy
from hf_models import transformers as t
from PIL import Image

from must_tf.errors import UserError
from must_tf.teachers.hf.frames import Frames

HEIGHT, WIDTH = 60, 120
PADDED = {"size": {"max_height": 64, "max_width": 64}, "pad_size": {"height": 64, "width": 64}}
SIDES = np.array([HEIGHT, WIDTH, HEIGHT, WIDTH])
BOX = np.array([15.0, 30.0, 45.0, 90.0])  # ymin, xmin, ymax, xmax in pixels


@pytest.fixture
def padded(saved, tmp_path):
    """A function that returns a model's folder with another processor in it."""

    def save(name, processor):
        folder = shutil.copytree(saved(name), tmp_path / name)
        processor.save_pretrained(folder)
        return folder

    return save


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        ("detr", t.DetrImageProcessorPil(**PADDED)),
        ("yolos", t.YolosImageProcessorPil(**PADDED)),
        ("rt_detr", t.RTDetrImageProcessorPil(**PADDED, do_pad=True)),
    ],
)
def test_boxes_are_those_of_the_targets_in_a_padded_view(name, processor, padded):
    teacher = toy.load("t", f"hf:{padded(name, processor)}")
    top, left, bottom, right = BOX
    entry = {"bbox": [left, top, right - left, bottom - top], "category_id": 1, "area": 1800, "iscrowd": 0}
    image = hf_models.image(HEIGHT, WIDTH)
    targets = processor(
        images=Image.fromarray(image), annotations={"image_id": 0, "annotations": [entry]}, return_tensors="pt"
    )["labels"][0]
    classes = 5 + (name != "rt_detr")
    outputs = {"logits": np.eye(classes, dtype=np.float32)[[1]] * 40 - 20, "pred_boxes": targets["boxes"].numpy()}
    label = teacher.label(outputs, HEIGHT, WIDTH)
    np.testing.assert_allclose(label["boxes"] * SIDES, [BOX], atol=0.1)
    assert label["classes"].tolist() == [1]


@pytest.mark.parametrize("kind", ["segmentation", "instances"])
def test_masks_are_those_of_the_targets_in_a_padded_view(kind, padded):
    processor = t.Mask2FormerImageProcessorPil(**PADDED, do_pad=True, ignore_index=255)
    teacher = toy.load("t", f"hf:{padded('mask2former', processor)}", fields={"task": kind})
    top, left, bottom, right = BOX.astype(int)
    classes = np.zeros((HEIGHT, WIDTH), np.int32)
    classes[top:bottom, left:right] = 3
    image = hf_models.image(HEIGHT, WIDTH)
    targets = processor(images=Image.fromarray(image), segmentation_maps=classes, return_tensors="pt")
    outputs = {
        "masks_queries_logits": (targets["mask_labels"][0].numpy() == 1) * np.float32(40)
        - 20,  # padding has the ignore_index
        "class_queries_logits": np.eye(6, dtype=np.float32)[targets["class_labels"][0].numpy()] * 40 - 20,
    }
    label = teacher.label(outputs, HEIGHT, WIDTH)
    if kind == "segmentation":
        assert (label == classes).mean() > 0.97  # but for the edges of the object
    else:
        (found,) = label["boxes"][label["classes"] == 3] * SIDES
        np.testing.assert_allclose(found, BOX, atol=2.1)  # a pixel of the view is two of the image


def test_depth_is_where_the_image_is_in_a_view_that_is_padded_on_all_sides(padded):
    options = {"do_resize": False, "do_rescale": False, "do_normalize": False}
    processor = t.DPTImageProcessorPil(**options, do_pad=True, size_divisor=14)  # as of DPT on DINOv2
    teacher = toy.load("t", f"hf:{padded('depth_anything', processor)}")
    image = hf_models.image(HEIGHT, WIDTH)
    view = teacher.view(image)["pixel_values"]
    assert view.shape[-2:] == (70, 126)
    found = teacher.label({"predicted_depth": view[0, 0].numpy()}, HEIGHT, WIDTH)
    np.testing.assert_allclose(found, image[..., 0], atol=1e-3)
    np.testing.assert_array_equal(teacher.seen(HEIGHT, WIDTH), [0, 0, 1, 1])


def test_a_batch_of_padded_views_is_labeled_as_its_images(padded):
    teacher = toy.load("t", f"hf:{padded('detr', t.DetrImageProcessorPil(**PADDED))}")
    images = np.stack([hf_models.image(HEIGHT, WIDTH, seed) for seed in (0, 1)])
    together = teacher(images)["boxes"].numpy()
    for image, boxes in zip(images, together, strict=True):
        (outputs,) = teacher.predict([teacher.view(image)], 1)
        np.testing.assert_allclose(boxes, teacher.in_image(outputs, HEIGHT, WIDTH)()["boxes"], atol=1e-4)


@pytest.mark.parametrize("crop_size", [None, {"shortest_edge": 32}])
def test_a_crop_of_no_size_is_refused_in_one_line(crop_size, saved, tmp_path):
    folder = shutil.copytree(saved("vit"), tmp_path / "vit")
    config = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": True, "crop_size": crop_size}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"its processor crops, and its crop_size is .*; expected height and width"):
        toy.load("t", f"hf:{folder}")


def test_a_view_without_padding_is_the_image(saved):
    processor = t.DetrImageProcessorPil.from_pretrained(saved("detr"))
    frames = Frames(lambda image, **options: processor(images=image, return_tensors="pt"), processor, False, "x")
    assert frames.place(HEIGHT, WIDTH) is None and frames.crop is None
