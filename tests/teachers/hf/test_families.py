"""Labels of each family of models are those of transformers' own pipeline on the same images, within rounding."""

import sys
import types

import hf_models
import numpy as np
import pytest
import toy
from hf_models import torch, transformers
from PIL import Image

from must_tf.errors import UserError
from must_tf.tasks.instances import masks

LEAST = 3  # objects or classes that every comparison must have


def pipeline(task, folder, **options):
    return transformers.pipeline(task, model=str(folder), device="cpu", **options)


def load(folder, fields=None, **thresholds):
    return toy.load("t", f"hf:{folder}", fields=fields or {}, thresholds=thresholds)


def compare_probs(teacher, labels, expected):
    winners = set()
    for probs, rows in zip(labels, expected, strict=True):
        wanted = {row["label"]: row["score"] for row in rows}
        assert len(wanted) >= LEAST and set(wanted) == set(teacher.task.class_names)
        np.testing.assert_allclose(probs, [wanted[name] for name in teacher.task.class_names], atol=2e-5)
        winners.add(int(np.argmax(probs)))
    assert max(np.ptp(np.array(labels), 0)) > 0.01  # they depend on the image


def visible(box, height, width):
    """Returns a box of a pipeline as ymin, xmin, ymax, xmax within the image."""
    corners = np.array([box["ymin"], box["xmin"], box["ymax"], box["xmax"]])
    return np.clip(corners, 0, [height, width, height, width])


def compare_boxes(teacher, images, labels, expected):
    names = set()
    for image, label, rows in zip(images, labels, expected, strict=True):
        height, width = image.shape[:2]
        wanted = [(row["label"], row["score"], visible(row["box"], height, width)) for row in rows]
        outside = [box for _, _, box in wanted if (box[2:] <= box[:2]).any()]
        assert len(wanted) - len(outside) >= LEAST
        found = list(
            zip(label["classes"], label["scores"], label["boxes"] * [height, width, height, width], strict=True)
        )
        assert len(wanted) - len(outside) <= len(found) <= len(wanted)
        for id_, score, box in found:
            name = teacher.task.class_names[id_]
            alike = [abs(row[2] - box).max() for row in wanted if row[0] == name and abs(row[1] - score) < 1e-4]
            assert min(alike) < 1.01  # the pipeline cuts fractions of pixels off
            names.add(name)
    assert len(names) > 1


def compare_masks(teacher, images, labels, expected):
    names = set()
    for image, mask, rows in zip(images, labels, expected, strict=True):
        wanted = np.full(image.shape[:2], -1)
        for row in rows:
            wanted[np.asarray(row["mask"]) > 0] = teacher.task.class_names.index(row["label"])
            names.add(row["label"])
        assert mask.shape == wanted.shape and (mask == wanted).mean() > 0.999
    assert len(names) >= LEAST


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_classifiers(name, saved, images, label_all):
    teacher = load(folder := saved(name))
    run = pipeline("image-classification", folder)
    expected = [run(Image.fromarray(image), top_k=None) for image in images]
    assert not teacher.task.multi_label
    compare_probs(teacher, label_all(teacher, images), expected)


def test_multi_label_classifiers_by_the_problem_type_of_their_config(saved, images, label_all):
    teacher = load(folder := saved("vit", problem_type="multi_label_classification"))
    run = pipeline("image-classification", folder)
    expected = [run(Image.fromarray(image), top_k=None) for image in images]
    assert teacher.task.multi_label
    compare_probs(teacher, label_all(teacher, images), expected)
    assert abs(sum(row["score"] for row in expected[0]) - 1) > 0.1


@pytest.mark.parametrize("name", ["detr", "rt_detr", "d_fine", "yolos"])
def test_detectors(name, saved, images, label_all):
    teacher = load(folder := saved(name))
    assert teacher.task.min_score == 0.5
    run = pipeline("object-detection", folder)
    expected = [run(Image.fromarray(image), threshold=0.5) for image in images]
    compare_boxes(teacher, images, label_all(teacher, images), expected)


@pytest.mark.parametrize("name", ["segformer", "upernet", "mask2former", "maskformer", "oneformer"])
def test_segmenters(name, saved, images, label_all):
    teacher = load(folder := saved(name), min_score=0.0)
    run = pipeline("image-segmentation", folder)
    expected = [run(Image.fromarray(image), subtask="semantic") for image in images]
    labels = label_all(teacher, images)
    compare_masks(teacher, images, labels, expected)
    sure = label_all(load(folder), images)  # from min_score on; other pixels are ignored
    for mask, kept in zip(labels, sure, strict=True):
        assert ((kept == mask) | (kept == teacher.task.ignore)).all()
    assert any((kept != teacher.task.ignore).any() for kept in sure)


@pytest.mark.parametrize("name", ["mask2former", "maskformer", "oneformer", "detr_segmenter"])
def test_segmenters_of_instances(name, saved, images, label_all, monkeypatch):
    """Classes, scores and masks are those of the library's own post-processing.

    Masks that it resizes to the nearest pixel are compared at its own resolution, because it takes the corner of a
    pixel for its place, and we take its center.
    """
    least = 0.9 if name == "oneformer" else 0.3
    teacher = load(folder := saved(name), {"task": "instances"}, min_score=least)
    assert teacher.task.kind == "instances" and teacher.task.class_names == hf_models.NAMES
    processor, count = teacher.processor, 0
    model = getattr(transformers, teacher.files.name).from_pretrained(folder).eval()
    of_images = getattr(processor, "image_processor", processor)
    overlapping = name in ("mask2former", "maskformer")
    if name == "oneformer":
        lend_torchvision(monkeypatch, of_images)
    for image, label in zip(images, label_all(teacher, images), strict=True):
        size = image.shape[:2]
        told = {"task_inputs": ["instance"]} if name == "oneformer" else {}
        options = {"return_binary_maps": True} if overlapping else {"target_sizes": [size]}
        inputs = processor(images=Image.fromarray(image), return_tensors="pt", **told)
        with torch.no_grad():
            (found,) = of_images.post_process_instance_segmentation(model(**inputs), threshold=least, **options)
        rows, maps = found["segments_info"], found["segmentation"].numpy()
        wanted = [maps[i] > 0 if overlapping else maps == row["id"] for i, row in enumerate(rows)]
        at = [
            ((np.arange(side) + 0.5) / side * cells).astype(int)
            for side, cells in zip(size, maps.shape[-2:], strict=True)
        ]
        wanted = [mask[np.ix_(*at)] for mask in wanted]
        assert len(label["boxes"]) == sum(mask.any() for mask in wanted) and not label["ignore"].any()
        for cls, score, rle in zip(*(label[key] for key in ("classes", "scores", "masks")), strict=True):
            alike = [row["label_id"] == cls and abs(row["score"] - score) < 1e-4 for row in rows]
            mask = masks.decode(rle)
            assert any((mask == other).all() for same, other in zip(alike, wanted, strict=True) if same)
            count += 1
        for box, rle in zip(label["boxes"], label["masks"], strict=True):
            ys, xs = np.nonzero(masks.decode(rle))
            tight = np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]) / (*size, *size)
            np.testing.assert_allclose(box, tight, atol=1 / min(size))
    assert count >= LEAST


def suppressed(boxes, scores, idxs, iou_threshold):
    """Returns the boxes that non-maximum suppression keeps, the best first; all are of one group."""
    assert not idxs.any()
    kept = []
    for one in scores.argsort(descending=True).tolist():
        low, high = torch.maximum(boxes[kept, :2], boxes[one, :2]), torch.minimum(boxes[kept, 2:], boxes[one, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        if not (shared / (areas[kept] + areas[one] - shared) > iou_threshold).any():
            kept.append(one)
    return torch.tensor(kept, dtype=torch.int64)


def test_automatic_masks_of_sam(saved, images, label_all, monkeypatch):
    """Masks, scores and their order are those of the pipeline, which needs torchvision for the suppression alone."""
    teacher = load(folder := saved("sam_of_masks"), {"task": "instances"})
    assert teacher.task.kind == "instances" and teacher.task.class_names == ("object",)
    run, count = pipeline("mask-generation", folder), 0
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["torchvision.ops.boxes"], "batched_nms", suppressed, raising=False)
    monkeypatch.setitem(transformers.utils.import_utils.BACKENDS_MAPPING, "torchvision", (lambda: True, ""))
    for image, label in zip(images[1:3], label_all(teacher, images[1:3]), strict=True):
        found = run(Image.fromarray(image))
        np.testing.assert_allclose(label["scores"], found["scores"].numpy(), atol=1e-4)
        assert not label["classes"].any()
        for rle, mask in zip(label["masks"], found["masks"], strict=True):
            assert (masks.decode(rle) == np.asarray(mask)).mean() > 0.999
            count += 1
    assert count > 100


def test_a_model_of_mask_queries_labels_semantic_segmentation_unless_the_card_says_instances(saved):
    assert load(saved("mask2former")).task.kind == "segmentation"
    with pytest.raises(UserError, match="mask_frame: hf: models do this themselves"):
        load(saved("mask2former"), {"task": "instances", "mask_frame": "box"})


def test_objects_of_images_of_one_size_are_stacked_with_padding(saved, images):
    teacher = load(saved("detr_segmenter"), {"task": "instances"}, min_score=0.3)
    found = teacher(np.stack([images[0], images[3]]))
    assert found["classes"].shape[0] == 2 and found["masks"].shape[:2] == found["classes"].shape
    assert ((found["classes"].numpy() >= 0) == (found["scores"].numpy() > 0)).all()


def test_a_large_mask_is_made_in_bands_of_rows(saved, images, label_all, monkeypatch):
    teacher = load(saved("segformer"))
    whole = label_all(teacher, images)
    monkeypatch.setattr(
        type(teacher.task),
        "bands",
        lambda self, height, width: [((first, min(25, height - first)),) for first in range(0, height, 25)],
    )
    for mask, expected in zip(label_all(teacher, images), whole, strict=True):
        assert mask.shape == expected.shape and (mask == expected).mean() > 0.999


def test_what_the_processor_crops_is_unknown(saved, images, label_all):
    folder = saved("mobilevit")
    teacher = load(folder, min_score=0.0)
    # The pipeline stretches the center over the whole image. Its post-processing of the center alone is compared.
    model, processor = (
        transformers.MobileViTForSemanticSegmentation.from_pretrained(folder).eval(),
        transformers.AutoImageProcessor.from_pretrained(folder),
    )
    names = set()
    for image, mask in zip(images, label_all(teacher, images), strict=True):
        height, width = image.shape[:2]
        scale = 80 / min(height, width)
        top, left = (round((side * scale - 64) / 2 / scale) for side in (height, width))
        side = round(64 / scale)
        known = mask[top + 1 : top + side - 1, left + 1 : left + side - 1]
        assert (mask[: top - 1] == teacher.task.ignore).all() and (mask[:, : left - 1] == teacher.task.ignore).all()
        assert (known != teacher.task.ignore).all()
        inputs = processor(images=Image.fromarray(image), return_tensors="pt")
        with torch.no_grad():
            (center,) = processor.post_process_semantic_segmentation(model(**inputs), target_sizes=[(side, side)])
        assert (known == center.numpy()[1:-1, 1:-1]).mean() > 0.9  # scores are interpolated twice here
        names |= set(np.unique(known))
    assert len(names) >= LEAST


@pytest.mark.parametrize(
    ("name", "fields", "convention"),
    [
        ("depth_anything", {}, "affine_inverse"),
        ("depth_anything", {"depth_estimation_type": "metric", "max_depth": 20}, "metric"),
        ("dpt", {}, "affine_inverse"),
        ("zoedepth", {}, "metric"),
    ],
)
def test_depth_estimators(name, fields, convention, saved, images, label_all, monkeypatch):
    teacher = load(folder := saved(name, **fields))
    assert teacher.task.convention == convention
    run = pipeline("depth-estimation", folder)
    if name == "zoedepth":
        lend_torchvision(monkeypatch, run.image_processor)
    for image, depth in zip(images, label_all(teacher, images), strict=True):
        wanted = run(Image.fromarray(image))["predicted_depth"].numpy()
        valid = np.isfinite(depth)
        assert depth.shape == image.shape[:2] == wanted.shape and valid.mean() > 0.5 and np.ptp(depth[valid]) > 0.01
        np.testing.assert_allclose(depth[valid], wanted[valid], rtol=1e-4, atol=1e-4)
        assert convention == "affine_inverse" or (wanted[~valid] <= 1e-6).all()


def lend_torchvision(monkeypatch, processor):
    """Gives the library's post-processing of ZoeDepth and OneFormer the one function of torchvision it calls."""

    def resize(values, size, interpolation, antialias=False):
        batch = values if values.ndim == 4 else values[None]
        resized = torch.nn.functional.interpolate(batch, size, mode=interpolation, align_corners=False)
        return resized if values.ndim == 4 else resized[0]

    module = __import__(type(processor).__module__, fromlist=["tvF"])
    modes = types.SimpleNamespace(BICUBIC="bicubic", BILINEAR="bilinear")
    monkeypatch.setattr(module, "tvF", types.SimpleNamespace(resize=resize, InterpolationMode=modes), raising=False)


def test_depth_of_which_the_config_does_not_say_the_convention_needs_it(saved, images, label_all):
    folder = saved("dpt", add_projection=True, fusion_hidden_size=256)
    with pytest.raises(UserError, match=r"convention: not given, and the config .* --cards.t.convention=VALUE"):
        load(folder)
    assert load(folder, {"convention": "metric"}).task.convention == "metric"


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_zero_shot_classifiers(name, saved, images, label_all):
    teacher = load(folder := saved(name), {"prompts": hf_models.PROMPTS})
    assert teacher.task.class_names == tuple(hf_models.PROMPTS)
    assert teacher.task.multi_label == (name == "siglip")
    run = pipeline("zero-shot-image-classification", folder)
    texts = {text: name for name, text in hf_models.PROMPTS.items()}
    expected = [
        [
            row | {"label": texts[row["label"]]}
            for row in run(Image.fromarray(image), candidate_labels=list(texts), hypothesis_template="{}")
        ]
        for image in images
    ]
    compare_probs(teacher, label_all(teacher, images), expected)


@pytest.mark.parametrize(("name", "min_score"), [("owlv2", 0.1), ("grounding_dino", 0.25)])
def test_zero_shot_detectors(name, min_score, saved, images, label_all):
    teacher = load(folder := saved(name), {"prompts": hf_models.PROMPTS})
    assert teacher.task.min_score == min_score and teacher.task.class_names == tuple(hf_models.PROMPTS)
    run = pipeline("zero-shot-object-detection", folder)
    stop = "." if name == "grounding_dino" else ""  # as its processor writes prompts
    texts = {text + stop: name for name, text in hf_models.PROMPTS.items()}
    expected = [
        [
            row | {"label": texts[row["label"]]}
            for row in run(Image.fromarray(image), candidate_labels=list(texts), threshold=min_score)
        ]
        for image in images
    ]
    compare_boxes(teacher, images, label_all(teacher, images), expected)
