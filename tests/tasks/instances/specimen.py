import numpy as np
from regions import perfect_regions, random_regions
from specimens import VIEW, Specimen, extent

from must_tf.tasks import Instances
from must_tf.tasks.detection import CROWD, UNSEEN
from must_tf.tasks.instances import masks

OBJECTS = Instances(
    "objects", ("cup", "bowl"), max_boxes=6, max_outputs=20, mask_size=64, anchor_size=2.0, num_convs=1,
    num_proposals=30, num_rois=16, fc_units=32,
)  # fmt: skip
_OF_BOXES = ("boxes", "classes", "scores", "ignore")


class _Instances(Specimen):
    tasks = (OBJECTS,)
    empty_is_label = True

    def random_label(self, task, rng, height, width):
        """Objects with random pixels, tight boxes, and at times a crowd without a mask or a region not seen."""
        found, boxes = [], []
        for _ in range(int(rng.integers(0, task.max_boxes - 1))):
            inside = np.zeros((height, width), bool)
            ymin, xmin = int(rng.integers(height)), int(rng.integers(width))
            part = inside[ymin : ymin + 1 + height // 2, xmin : xmin + 1 + width // 2]
            part[:] = rng.random(part.shape) < 0.7
            part[rng.integers(len(part)), rng.integers(part.shape[1])] = True
            found.append(masks.encode(inside))
            boxes.append(extent(inside))
        ignore = [0] * len(found)
        if rng.random() < 0.3:
            boxes.append(np.sort(rng.random((2, 2)), 0).ravel())
            found.append(None)
            ignore.append(int(rng.choice([CROWD, UNSEEN])))
        return {
            "boxes": np.array(boxes, np.float32).reshape(-1, 4),
            "classes": np.array([0 if one == UNSEEN else rng.integers(task.num_classes) for one in ignore], int),
            "scores": rng.random(len(found)).astype(np.float32),
            "ignore": np.array(ignore, int),
            "masks": masks.as_array(found),
        }

    def hard_label(self, task, rng):
        return _label(*[_filled(box) for box in ((8, 8, 24, 32), (32, 32, 56, 52))])

    def empty_labels(self, task, height, width):
        return [_label()]

    def other_identities(self, task):
        return [Instances(task.name, (*task.class_names, "plate"))]

    def assert_same(self, task, got, want):
        for key in _OF_BOXES:
            np.testing.assert_array_equal(got[key], want[key])
        assert list(got["masks"]) == list(want["masks"])

    def assert_close(self, task, got, want, exact):
        order = np.argsort(got["classes"])
        np.testing.assert_array_equal(got["classes"][order], want["classes"])
        np.testing.assert_allclose(got["boxes"][order], want["boxes"], atol=1e-4)
        assert list(got["masks"][order]) == list(want["masks"])

    def random_prediction(self, task, rng, count, view=VIEW):
        return random_regions(task.of_boxes, rng, count, view, True)

    def perfect_prediction(self, task, target):
        return perfect_regions(task.of_boxes, target, VIEW, True)

    def perfect_outputs(self, task, target):
        real = (target["classes"] >= 0) & (target["ignore"] != UNSEEN)
        return {
            "boxes": target["boxes"],
            "classes": np.where(real, target["classes"], -1),
            "scores": real.astype(np.float32),
            "masks": target["masks"],
            "size": target["size"],
        }

    def marker_label(self, task, inside):
        """The marked pixels in a larger box, so that the mask tells where they are."""
        label = _label(inside) if inside.any() else _label()
        margin = np.tile(label["boxes"][:, 2:] - label["boxes"][:, :2], 2) * [
            -1 / 6,
            -1 / 6,
            1 / 6,
            1 / 6,
        ]  # 8 of 64 cells
        boxes = np.clip(label["boxes"] + margin, 0, 1).astype(np.float32)
        return label | {"boxes": boxes, "classes": np.ones(len(boxes), int)}

    def marked_box(self, task, values):
        real = np.flatnonzero((values["classes"] >= 0) & (values.get("ignore", np.zeros(len(values["classes"]))) == 0))
        if not real.size:
            return None
        box, grid = values["boxes"][real[0]], values["masks"][real[0]] > 0.5
        inside = extent(grid)
        return None if inside is None else np.tile(box[:2], 2) + inside * np.tile(box[2:] - box[:2], 2)

    def assert_counted(self, task, label, found):
        assert found.pop("boxes") == (label["ignore"] == 0).sum()
        assert sum(found.values()) == len(label["boxes"])


def _filled(box):
    inside = np.zeros(VIEW, bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    inside[box[0], box[1]] = False
    return inside


def _label(*inside):
    return {
        "boxes": np.array([extent(one) for one in inside], np.float32).reshape(-1, 4),
        "classes": np.arange(len(inside)),
        "scores": np.ones(len(inside), np.float32),
        "ignore": np.zeros(len(inside), int),
        "masks": masks.as_array(masks.encode(one) for one in inside),
    }


SPECIMEN = _Instances()
