"""Small tasks, random labels, predictions that fit them, and tiny datasets: what the tests are made of."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf.geometry import fit, stretch
from must_tf.records import HUMAN, Manifest, Plan, Record, finish, pending, serialize, write_shard
from must_tf.records.schema import parse
from must_tf.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_tf.tasks.detection.matching import match
from must_tf.teachers import Teacher
from must_tf.training import Experiment, Optimizer
from must_tf.trunk import Trunk

SCENE = Classification("scene", ("indoor", "outdoor", "neither"))
THINGS = Detection("things", ("chair", "table"), anchor_size=2.0, num_convs=1, max_boxes=6, max_outputs=20)
STUFF = Segmentation("stuff", ("wall", "floor", "rest"))
DEPTH = Depth("depth")
NORMALS = Normals("normals")

TASKS = (SCENE, THINGS, STUFF, DEPTH, NORMALS)
VARIANTS = (
    *TASKS,
    Classification("many", tuple(f"class {i}" for i in range(40)), top_k=4),
    Segmentation("fine", tuple(f"class {i}" for i in range(300))),
    Depth("inverse", convention="affine_inverse"),
)
TRUNK = Trunk("resnet-10", 0.25, 3, 5, 16, 0.9)
VIEW = (64, 64)


# Labels


def random_label(task, rng, height, width):
    """Returns a label with something in it, and with invalid pixels where its kind knows them."""
    if isinstance(task, Classification):
        if rng.random() < 0.5:
            return int(rng.integers(task.num_classes))
        return rng.dirichlet(np.full(task.num_classes, 0.5)).astype(np.float32)
    if isinstance(task, Detection):
        count = int(rng.integers(0, task.max_boxes))
        sides = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)
        classes = rng.integers(0, task.num_classes, count)
        return {"boxes": sides, "classes": classes, "scores": rng.random(count).astype(np.float32)}
    holes = rng.random((height, width)) < 0.3
    holes[rng.integers(height), rng.integers(width)] = False
    if isinstance(task, Segmentation):
        unknown = rng.choice([-1, task.num_classes, task.ignore], (height, width))
        return np.where(holes, unknown, rng.integers(0, task.num_classes, (height, width)))
    if isinstance(task, Depth):
        return np.where(holes, np.nan, 10 ** rng.uniform(-1, 2, (height, width)))
    vectors = rng.normal(size=(height, width, 3))
    return np.where(holes[..., None], 0, vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def assert_same_label(task, got, want):
    """Asserts that a label came back from its features within the bound that its kind states."""
    if isinstance(task, Classification):
        if np.ndim(want) == 0:
            assert got == want and isinstance(got, int)
        elif task.top_k:
            top = np.argsort(-want, kind="stable")[: task.top_k]
            np.testing.assert_array_equal(got[top], want[top])
            others = np.delete(got, top)
            np.testing.assert_allclose(others, (1 - want[top].sum()) / len(others), atol=1e-6)
        else:  # the second term: float16 is even below 6e-5
            assert (np.abs(got - want) <= want * 2.0**-11 + 2.0**-25).all()
    elif isinstance(task, Detection):
        for key in ("boxes", "classes", "scores"):
            np.testing.assert_array_equal(got[key], want[key])
    elif isinstance(task, Segmentation):
        known = (want >= 0) & (want < task.num_classes)
        np.testing.assert_array_equal(got, np.where(known, want, task.ignore))
    elif isinstance(task, Depth):
        valid = np.isfinite(want) & ((want > 0) | (task.convention != "metric"))
        np.testing.assert_array_equal(np.isfinite(got), valid)
        low, high = want[valid].min(), want[valid].max()
        bound = (high - low) / 131068 + 4e-7 * np.abs(want[valid]).max()  # and float32's own
        assert np.abs(got - want)[valid].max() <= bound
    else:
        valid = np.any(want, -1)
        np.testing.assert_array_equal(np.any(got, -1), valid)
        unit = want[valid] / np.linalg.norm(want[valid], axis=-1, keepdims=True)
        cosine = np.clip((got[valid] * unit).sum(-1), -1, 1)
        assert np.degrees(np.arccos(cosine)).max(initial=0) < 0.6


# Records and targets


def png(image):
    """Returns an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def record(image, labels=None, origin=HUMAN):
    """Returns the record of an image with these labels."""
    encoded = png(image)
    labels = dict(labels or {})
    identity = hashlib.sha256(encoded).hexdigest()[:16]
    return Record(encoded, "PNG", *image.shape[:2], identity, labels, dict.fromkeys(labels, origin))


def random_image(rng, height, width):
    """Returns noise in blocks: it survives a resize."""
    coarse = rng.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))


def target(task, label, height, width):
    """Returns the target of a label (None: absent) of an image of this size, in the frame of the image."""
    image = np.zeros((height, width, 3), np.uint8)
    labels = {} if label is None else {task.name: label}
    return parse(tf.constant(serialize(record(image, labels), [task])), [task])["targets"][task.name]


def view_target(task, label, height, width, view=VIEW):
    """Returns the target of a label, its image stretched over a view."""
    return task.transform(target(task, label, height, width), stretch((height, width), view))


def fit_view(size):
    """Returns how an image of this size lies in the view of evaluation."""
    return fit(size, VIEW)


def batch(targets):
    """Stacks targets."""
    return tf.nest.map_structure(lambda *values: tf.stack(values), *targets)


def numpy(values):
    """Turns tensors into arrays."""
    return tf.nest.map_structure(lambda value: np.asarray(value), values)


# Predictions and losses


def image_losses(task, target, prediction):
    """Returns what each image adds to a task's loss before it is divided, float32 [batch]."""
    return tf.add_n([term.weight * term.sums for term in task.loss(target, prediction).values()])


def random_prediction(task, rng, count, view=VIEW):
    """Returns what a head might give for a batch."""

    def normal(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    height, width = view
    if isinstance(task, Classification):
        return normal(count, task.num_classes)
    if isinstance(task, Detection):
        anchors = task.anchor_scales * len(task.aspect_ratios)
        sizes = {str(level): (height >> level, width >> level) for level in (3, 4, 5)}
        logits = {level: normal(count, *size, anchors * task.num_classes) for level, size in sizes.items()}
        return logits, {level: normal(count, *size, anchors * 4) for level, size in sizes.items()}, {}
    channels = {"segmentation": getattr(task, "num_classes", 0), "depth": 1, "normals": 3}[task.kind]
    return normal(count, height // 4, width // 4, channels)


def perfect_prediction(task, one):
    """Returns a prediction, at the size of the view, that says what one target says, as a batch of one."""
    if isinstance(task, Classification):
        return 30.0 * one["probs"][tf.newaxis]
    if isinstance(task, Detection):
        return _perfect_boxes(task, one)
    if isinstance(task, Segmentation):
        return 30.0 * tf.one_hot(one["mask"][..., 0], task.num_classes)[tf.newaxis]
    if isinstance(task, Depth):
        depth = tf.where(one["valid"], one["depth"], 1.0)
        return (tf.math.log(depth) if task.convention == "metric" else depth)[tf.newaxis]
    return one["normals"][tf.newaxis]


def _perfect_boxes(task, one):
    from must_tf import garden

    sizes = {str(level): (VIEW[0] >> level, VIEW[1] >> level) for level in (3, 4, 5)}
    logits, offsets = {}, {}
    all_anchors = tf.concat([task._anchors(int(level), tf.constant(size)) for level, size in sizes.items()], 0)
    boxes = one["boxes"][tf.newaxis] * VIEW[0]
    matched = match(boxes, one["classes"][tf.newaxis], all_anchors)[0]
    start = 0
    for level, size in sizes.items():
        count = size[0] * size[1] * task.anchor_scales * len(task.aspect_ratios)
        which, anchors = matched[start : start + count], all_anchors[start : start + count]
        start += count
        classes = tf.where(which >= 0, tf.gather(one["classes"], tf.maximum(which, 0)), -1)
        goal = tf.where((which >= 0)[:, tf.newaxis], tf.gather(boxes[0], tf.maximum(which, 0)), anchors)
        logits[level] = tf.reshape(30 * tf.one_hot(classes, task.num_classes) - 15, [1, *size, -1])
        offsets[level] = tf.reshape(garden.encode_boxes(goal, anchors), [1, *size, -1])
    return logits, offsets, {}


def perfect_outputs(task, one):
    """Returns what `Task.decode_predictions` gives where the student is right and certain; for one image."""
    if isinstance(task, Classification):
        return {"probs": np.eye(task.num_classes, dtype=np.float32)[int(np.argmax(one["probs"]))]}
    if isinstance(task, Detection):
        scores = np.where(one["classes"] >= 0, 1.0, 0.0).astype(np.float32)
        return {"boxes": one["boxes"], "classes": one["classes"], "scores": scores}
    if isinstance(task, Segmentation):
        mask = one["mask"][..., 0]
        return {"probs": np.eye(task.num_classes, dtype=np.float32)[np.where(mask == task.ignore, 0, mask)]}
    if isinstance(task, Depth):
        return {"depth": np.where(one["valid"], one["depth"], 1.0)}
    return {"normals": one["normals"]}


# Teachers


class FakeTeacher(Teacher):
    """A teacher by rule: what it says of a view is a function of the view's red channel."""

    def __init__(self, task, rule, size=VIEW, name="fake-1"):
        self.task, self.rule, self.input_size, self.id = task, rule, size, name
        self.shapes = set()

    def __call__(self, images):
        self.shapes.add(tuple(images.shape))
        assert isinstance(images, np.ndarray) and images.dtype == np.uint8
        return self.rule(tf.cast(images[..., 0], tf.float32) / 255)

    def describe(self):
        return {"format": "fake", "id": self.id}


def bright_is_floor(red):
    """Segmentation: pixels with much red are class 1."""
    return {"probs": tf.one_hot(tf.cast(red > 0.5, tf.int32), 3)}


def mean_as_class(red):
    """Classification: a bright image is class 1."""
    probs = tf.one_hot(tf.cast(tf.reduce_mean(red, [1, 2]) > 0.5, tf.int32), 3)
    return {"probs": 0.5 * probs + 1 / 6}


def segmenter(**fields):
    """Returns a fake teacher of segmentation."""
    return FakeTeacher(STUFF, bright_is_floor, **fields)


def classifier(**fields):
    """Returns a fake teacher of classification."""
    return FakeTeacher(SCENE, mean_as_class, **fields)


# Datasets and experiments

SIZES = ((64, 64), (48, 80), (33, 57), (96, 40), (20, 20))


def toy_records(count, seed=0, tasks=TASKS):
    """Returns records of mixed sizes; record i lacks the label of task i % (len(tasks) + 1), where there is one."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(count):
        height, width = SIZES[i % len(SIZES)]
        labels = {task.name: random_label(task, rng, height, width) for task in tasks}
        missing = i % (len(tasks) + 1)
        if len(tasks) > 1 and missing < len(tasks):
            del labels[tasks[missing].name]
        records.append(record(random_image(rng, height, width), labels))
    return records


def write_dataset(folder, records, tasks=TASKS, num_shards=2, source=None) -> Manifest:
    """Writes a dataset by the real writer."""
    plan = Plan(Path(folder), "toy", "train", tuple(tasks), num_shards, source or {"seed": 0})
    for index in pending(plan):
        write_shard(plan, index, records[index::num_shards])
    return finish(plan)


def experiment(*folders, tasks=TASKS, **fields):
    """Returns a tiny experiment."""
    fields = {"steps": 4, "batch_size": 4, "log_every": 1, "checkpoint_every": 2} | fields
    fields = {"optimizer": Optimizer("sgd", 0.01, clip_norm=1.0), "trunk": TRUNK, "input_size": VIEW} | fields
    return Experiment(tasks=tuple(tasks), train=tuple(str(folder) for folder in folders), **fields)


def change_manifest(folder, **fields):
    """Changes fields of a dataset's manifest."""
    path = Path(folder, "manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def same_weights(one, other):
    """Whether two students hold the same weights, to the bit."""
    pairs = zip(one.variables, other.variables, strict=True)
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)
