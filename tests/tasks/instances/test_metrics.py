"""Mask AP against a plain run of pycocotools on the same masks, through a file."""

import contextlib
import io
import json

import numpy as np
import pytest
import specimens
import toy
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from must_tf.tasks.detection import CROWD
from must_tf.tasks.instances import masks

TASK = specimens.SPECIMENS["instances"].tasks[0]
SIZE = (60, 80)


def blobs(rng, count):
    """Returns masks of ellipses, bool [count, H, W]."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    centers, radii = rng.uniform(10, 50, (count, 2)), rng.uniform(5, 25, (count, 2))
    return [((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1 for (cy, cx), (ry, rx) in zip(centers, radii, strict=True)]


def shifted(rng, mask):
    return np.roll(mask, rng.integers(-3, 4, 2), (0, 1))


def as_label(found, classes, scores, ignore):
    return {
        "boxes": masks.tight_boxes(np.array(found)),
        "classes": classes,
        "scores": np.float32(scores),
        "ignore": ignore,
        "masks": masks.as_array(map(masks.encode, found)),
    }


def plain_ap(labels, found, tmp_path):
    """Returns AP and AP50 of pycocotools."""

    def entries(made):
        for image, one in enumerate(made, 1):
            for row, rle in enumerate(one["masks"]):
                kept = {"segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}, "image_id": image}
                yield kept | {
                    "category_id": int(one["classes"][row]) + 1,
                    "score": float(one["scores"][row]),
                    "iscrowd": int(one["ignore"][row] == CROWD),
                    "area": float(masks.area(rle)),
                }

    images = [{"id": i + 1, "height": SIZE[0], "width": SIZE[1]} for i in range(len(labels))]
    truth = [one | {"id": i} for i, one in enumerate(entries(labels), 1)]
    content = {"images": images, "annotations": truth, "categories": [{"id": 1}, {"id": 2}]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text(json.dumps(list(entries(found))))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "found.json")), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:2]


@pytest.mark.parametrize("seed", range(3))
def test_ap_is_that_of_pycocotools_on_stored_masks(seed, tmp_path):
    rng = np.random.default_rng(seed)
    labels, found = [], []
    for _ in range(8):
        true = blobs(rng, 4)
        classes, ignore = rng.integers(0, 2, 4), np.array([0, 0, 0, CROWD * (rng.random() < 0.5)])
        labels.append(as_label(true, classes, np.ones(4), ignore))
        guesses = [*(shifted(rng, mask) for mask in true), *blobs(rng, 2)]
        found.append(as_label(guesses, np.append(classes, [0, 1]), rng.random(6), np.zeros(6, int)))
    metric = TASK.metrics()
    for truth, guess in zip(labels, found, strict=True):
        target = toy.numpy(toy.target(TASK, truth, *SIZE))
        outputs = toy.numpy(toy.target(TASK, guess, *SIZE))
        metric.update(toy.numpy(toy.batch([target])), toy.numpy(toy.batch([outputs])))
    result = metric.result()
    assert [result["AP"], result["AP50"]] == pytest.approx(list(plain_ap(labels, found, tmp_path)), abs=1e-6)
    assert 0.1 < result["AP"] < result["AP50"] < 1
    counts = TASK.count_right(found, labels)
    assert counts[..., 2].sum() == sum((one["ignore"] == 0).sum() for one in labels)
    statistic = metric.per_image("AP50")
    assert statistic.scores(np.ones((1, 8)))[0] == pytest.approx(result["AP50"], abs=1e-9)
