"""What a draft card says of the outputs of detectors."""

import pytest
import yaml

from must_tf.tasks.classification.reader import ClassificationReader
from must_tf.tasks.depth.reader import DepthReader
from must_tf.tasks.detection.reader import DetectionReader
from must_tf.tasks.reader import Slot

FLOAT, INT = "float32", "int64"
VIEW = {"input_size": (640, 640)}


def slots(**shapes):
    """Slots of floats; a name with `label` holds ints."""
    return [Slot(name, tuple(shape), INT if "label" in name else FLOAT) for name, shape in shapes.items()]


def names(count):
    return {"class_names": [f"c{i}" for i in range(count)]}


RAW = {"suppressed": False, "box_format": "cxcywh", "box_units": "pixels", "activation": "probabilities"}
DONE = {"suppressed": True, "box_format": "xyxy", "box_units": "pixels"}
V8, V5 = {"packed_order": ["box", "scores"]}, {"packed_order": ["box", "objectness", "scores"]}
QUERIES = {"nms_iou": 1, "suppressed": False, "box_format": "cxcywh", "box_units": "normalized"}

FAMILIES = {
    "yolov8": (slots(output0=[1, 84, 8400]), {}, "raw YOLO head of 80 classes, no suppression", RAW | V8),
    "yolov8 of one class": (slots(output0=[1, 5, 8400]), {}, "raw YOLO head of 1 class, no", RAW | V8),
    "yolov8 of open size": (slots(output0=[None, 84, None]), {}, "raw YOLO head of 80 classes", RAW | V8),
    "yolov8 with masks": (
        slots(output0=[1, 116, 8400], output1=[1, 32, 160, 160]),
        names(80),
        "raw YOLO head of 80 classes",
        RAW | {"packed_order": ["box", "scores", "rest"]},
    ),
    "yolov8 transposed": (slots(output0=[1, 8400, 84]), names(80), "raw YOLO head of 80 classes", RAW | V8),
    "yolov5": (slots(output0=[1, 25200, 85]), VIEW, "raw YOLO head of 80 classes, no suppression", RAW | V5),
    "yolov5 with its maps": (
        slots(output=[1, 25200, 85], a=[1, 3, 80, 80, 85], b=[1, 3, 40, 40, 85]),
        VIEW,
        "raw YOLO head of 80 classes",
        RAW | V5,
    ),
    "yolov5 with masks": (
        slots(output0=[1, 25200, 117], output1=[1, 32, 160, 160]),
        names(80) | VIEW,
        "raw YOLO head of 80 classes",
        RAW | {"packed_order": ["box", "objectness", "scores", "rest"]},
    ),
    "yolov5 of one class": (slots(output0=[1, 25200, 6]), names(1) | {"suppressed": False}, "raw YOLO head of 1", V5),
    "rt-detr of ultralytics": (
        slots(output0=[1, 300, 84]),
        names(80),
        "raw YOLO head of 80",
        QUERIES | V8 | {"activation": "probabilities"},
    ),
    "end to end": (
        slots(output0=[1, 300, 6]),
        names(80),
        "rows of 6 values, as after suppression",
        DONE | {"packed_order": ["box", "score", "class"]},
    ),
    "yolov7 end to end": (
        slots(output=[None, 7]),
        {},
        "rows of 7 values, as after suppression",
        DONE | {"packed_order": ["batch", "box", "class", "score"]},
    ),
    "openvino": (
        slots(detection_out=[1, 1, 200, 7]),
        {},
        "rows of 7 values",
        DONE | {"packed_order": ["batch", "class", "score", "box"], "box_units": "normalized"},
    ),
    "mmdeploy": (
        slots(dets=[None, None, 5], labels=[None, None]),
        {},
        "rows of a box and a score, and classes",
        DONE | {"packed_order": ["box", "score"], "outputs": {"packed": "dets", "classes": "labels"}},
    ),
    "detr": (
        slots(logits=[None, 100, 92], pred_boxes=[None, 100, 4]),
        names(91),
        "boxes of 100 queries with 92 class scores, as DETR has",
        QUERIES | {"activation": "logits", "background_last": True},
    ),
    "rt-detr of transformers": (
        slots(logits=[None, 300, 80], pred_boxes=[None, 300, 4]),
        names(80),
        "boxes of 300 queries",
        QUERIES | {"activation": "sigmoid"},
    ),
    "rt-detr": (
        slots(labels=[None, 300], boxes=[None, 300, 4], scores=[None, 300]),
        {},
        "boxes, scores and classes, after suppression",
        DONE | {"outputs": {"boxes": "boxes", "scores": "scores", "classes": "labels"}},
    ),
    "rf-detr": (slots(dets=[1, 300, 4], labels=[1, 300, 91]), names(91), "boxes of 300 queries", QUERIES),
    "object detection api": (
        slots(
            detection_anchor_indices=[1, 100],
            raw_detection_boxes=[1, 1917, 4],
            raw_detection_scores=[1, 1917, 91],
            detection_classes=[1, 100],
            detection_scores=[1, 100],
            detection_boxes=[1, 100, 4],
            num_detections=[1],
        ),
        {},
        "boxes, scores and classes, after suppression",
        {
            "suppressed": True,
            "box_format": "yxyx",
            "box_units": "normalized",
            "background_first": True,
            "outputs": {
                "boxes": "detection_boxes",
                "scores": "detection_scores",
                "classes": "detection_classes",
                "count": "num_detections",
            },
        },
    ),
    "tensorrt": (
        slots(num_dets=[1, 1], det_boxes=[1, 100, 4], det_scores=[1, 100], det_classes=[1, 100]),
        {},
        "boxes, scores and classes, after suppression",
        DONE,
    ),
    "ssd": (
        slots(offsets=[1, 1917, 4], scores=[1, 1917, 91]),
        {},
        "boxes with 91 class scores each, no suppression",
        {"suppressed": False, "outputs": {"boxes": "offsets", "scores": "scores"}},
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_family_is_recognized(family):
    outputs, known, seen, fields = FAMILIES[family]
    assert DetectionReader.likeness(outputs) == 3 > DepthReader.likeness(outputs)
    lines = DetectionReader.draft(outputs, known)
    found = yaml.safe_load("\n".join(lines)) | known
    assert found.items() >= fields.items() and f"# {seen}" in lines[0]


UNDECIDED = {
    "boxes whose x and y no value tells apart": (
        slots(boxes=[1, 8400, 4], scores=[1, 8400, 80]),
        {},
        {"box_format": "xyxy (PyTorch), or yxyx (TensorFlow)"},
    ),
    "rows of 6": (
        slots(output0=[1, 25, 6]),
        {},
        {"packed_order": "[box, score, class] after suppression, or [box, objectness, scores] of a raw head"},
    ),
    "rows of 7": (
        slots(output0=[1, 100, 7]),
        {},
        {"packed_order": "[batch, box, class, score] after suppression, or [batch, class, score, box] after sup"},
    ),
    "rows of one image with their number, as of PaddleDetection": (
        [*slots(rows=[None, 6]), Slot("count", (1,), INT)],
        {},
        {"packed_order": "[class, score, box], or [box, score, class]"},
    ),
    "places of a grid, whatever the boxes are called": (
        slots(pred_boxes=[1, 8400, 4], pred_scores=[1, 8400, 80]),
        {},
        {"box_format": "xyxy (PyTorch), or yxyx (TensorFlow)"},
    ),
    "one box for every cell": (slots(output0=[1, 8400, 85]), VIEW, {"anchors": "{levels: [3, 4, 5], anchor_size: 1,"}),
    "softmax or sigmoid": (
        slots(logits=[1, 300, 91], pred_boxes=[1, 300, 4]),
        {},
        {"activation": "logits with background_last: true (DETR, YOLOS), or sigmoid"},
    ),
    "names that say nothing": (
        slots(boxes=[1, 10, 4], a=[1, 10], b=[1, 10]),
        {},
        {
            "outputs": {"boxes": "boxes", "scores": "choose: a, or b", "classes": "choose: a, or b"},
            "box_format": "xyxy (PyTorch), or yxyx (TensorFlow)",
        },
    ),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_draft_says_both_where_two_readings_are_possible(case):
    outputs, known, choices = UNDECIDED[case]
    found = yaml.safe_load("\n".join(DetectionReader.draft(outputs, known)))
    assert DetectionReader.likeness(outputs) > ClassificationReader.likeness(outputs)
    for field, choice in choices.items():
        assert found[field] == choice or found[field].startswith(f"choose: {choice}")


@pytest.mark.parametrize(
    "outputs",
    [
        slots(out=[1, 513, 513]),
        slots(last_hidden_state=[1, 197, 768]),
        slots(predicted_depth=[1, 518, 518]),
        slots(probs=[None, 1000]),
        slots(logits=[1, 21, 128, 128]),
        [Slot("argmax", (1, 65, 513), "int64")],
    ],
)
def test_other_outputs_are_no_boxes(outputs):
    assert DetectionReader.likeness(outputs) == 0


def test_scores_of_one_class_are_no_softmax():
    found = yaml.safe_load("\n".join(DetectionReader.draft(slots(boxes=[1, 8400, 4], scores=[1, 8400, 1]), {})))
    assert (found["class_names"], found["activation"]) == (["class 0"], "sigmoid")


def test_depth_of_an_unknown_convention_is_to_be_chosen():
    for name, line in (
        ("predicted_depth", 'convention: "choose: metric'),
        ("disparity", "convention: affine_inverse  #"),
    ):
        lines = DepthReader.draft([Slot(name, (1, 64, 64), FLOAT)], {})
        assert [one for one in lines if one.startswith(line)]
        assert not [
            one for one in DepthReader.draft([Slot(name, (1, 64, 64), FLOAT)], {"convention": "metric"}) if line in one
        ]


def test_depth_of_three_axes_is_recognized_by_its_name_alone():
    assert DepthReader.likeness(slots(predicted_depth=[1, 518, 518])) == 3
    assert DepthReader.likeness(slots(output=[1, 518, 518])) == 0
    assert DepthReader.likeness(slots(output=[1, 1, 518, 518])) == 2
