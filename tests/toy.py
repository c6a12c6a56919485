"""Test helpers: small tasks, random labels and predictions, fake teachers, and tiny datasets and experiments."""

import contextlib
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import specimens
import tensorflow as tf
from PIL import Image
from specimens import VIEW

from must_tf.cli.teacher_flags import parse_teachers
from must_tf.geometry import fit, stretch
from must_tf.records import HUMAN, Manifest, Plan, Record, finish, pending, serialize, write_shard
from must_tf.records.schema import parse
from must_tf.tasks import KINDS
from must_tf.teachers import Teacher, TeacherSpec, describe_model, load_teacher, load_teachers, make_card
from must_tf.training import Experiment, Optimizer
from must_tf.trunk import Trunk

SCENE, THINGS, STUFF, DEPTH, NORMALS = TASKS = tuple(
    specimens.SPECIMENS[kind].tasks[0] for kind in ("classification", "detection", "segmentation", "depth", "normals")
)
VARIANTS = tuple(task for one in specimens.SPECIMENS.values() for task in one.tasks)
TRUNK = Trunk("resnet-10", 0.25, 3, 5, 16, 0.9)


# Labels


def random_label(task, rng, height, width):
    """Returns a random label, with invalid parts if the kind has them."""
    return specimens.of(task).random_label(task, rng, height, width)


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


def write_beside_classes(folder, task, label):
    """Writes 12 records with labels of a task, with classes, or with both.

    Args:
      folder: for the dataset.
      task: of the labels.
      label: returns that of an image, given its number, height and width.
    """
    rng, records = np.random.default_rng(0), []
    for i in range(12):
        size = SIZES[i % len(SIZES)]
        labels = {task.name: label(i, *size)} if i != 3 else {}
        records.append(record(random_image(rng, *size), labels | ({"scene": i % 3} if i % 4 else {})))
    write_dataset(folder, records, (task, SCENE))


@contextlib.contextmanager
def writing_shards(module, killed_at=None):
    """Yields a list of the numbers of the shards that a module writes; `killed_at` is the one that ends it."""
    numbers, write = [], module.write_shard

    def write_one(plan, index, records):
        if index == killed_at:
            raise KeyboardInterrupt
        numbers.append(index)
        return write(plan, index, records)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "write_shard", write_one)
        with contextlib.nullcontext() if killed_at is None else pytest.raises(KeyboardInterrupt):
            yield numbers


def random_image(rng, height, width):
    """Returns noise in blocks of 8 pixels, which survives a resize."""
    coarse = rng.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))


def target(task, label, height, width):
    """Returns the target of a label (None: no label) for an image of this size, in the frame of the image."""
    image = np.zeros((height, width, 3), np.uint8)
    labels = {} if label is None else {task.name: label}
    return parse(tf.constant(serialize(record(image, labels), [task])), [task])["targets"][task.name]


def view_target(task, label, height, width, view=VIEW):
    """Returns the target of a label whose image is stretched to a view."""
    return task.transform(target(task, label, height, width), stretch((height, width), view))


def fit_view(size):
    """Returns the geometry from an image of this size to the view of evaluation."""
    return fit(size, VIEW)


def batch(targets):
    """Stacks targets."""
    return tf.nest.map_structure(lambda *values: tf.stack(values), *targets)


def numpy(values):
    """Turns tensors into arrays."""
    return tf.nest.map_structure(lambda value: np.asarray(value), values)


# Predictions and losses


def image_losses(task, target, prediction):
    """Returns each image's loss, as if it were a batch of its own, float32 [batch]."""
    terms = task.loss(target, prediction).values()
    return tf.add_n([t.weight * tf.math.divide_no_nan(t.sums, t.counts + t.extra) for t in terms])


def random_prediction(task, rng, count, view=VIEW):
    """Returns a random raw prediction for a batch."""
    return specimens.of(task).random_prediction(task, rng, count, view)


def perfect_prediction(task, target):
    """Returns the raw prediction, at the size of the view, that fits a target perfectly, as a batch of 1."""
    return specimens.of(task).perfect_prediction(task, target)


def perfect_outputs(task, target):
    """Returns the outputs of `Task.decode_predictions` for a perfect and certain student, for one image."""
    return specimens.of(task).perfect_outputs(task, target)


# Teachers


def load(task, where, **others):
    """Loads a teacher of `FORMAT:PATH`."""
    return load_teacher(TeacherSpec.of(task, where, **others))


def load_all(texts, cards=None, thresholds=None, fields=None):
    """Loads the teachers of flags `TASK=FORMAT:PATH`, as `must label` does."""
    return load_teachers(parse_teachers(texts, cards, thresholds, fields))


def describe(where):
    """Returns the draft of a card for `FORMAT:PATH`."""
    return describe_model(TeacherSpec.of_model(where))


def card(task, path="card", **fields):
    """Returns a card of fields as if it were read from a file."""
    return make_card({"task": task, **fields}, path)


def task_of(card):
    """Returns the task of a card's labels."""
    return KINDS[card.task]("t", **card.reader.task_fields())


def read(view, card, **arrays):
    """Returns the outputs that a card's reader makes of a model's arrays; the arrays must fit the card."""
    arrays = {role: np.asarray(values, np.float32) for role, values in arrays.items()}
    constants = card.reader.constants(card.folder, view)
    batch = len(next(iter(arrays.values())))
    assert card.reader.misfit(arrays | constants, batch, card.channels_first) is None
    return card.reader.read(card.reader.standard(arrays, card.channels_first) | constants, view)


class FakeTeacher(Teacher):
    """A teacher without a model: its outputs are a function of the red channel of a view."""

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
    """Returns records of mixed sizes; record i lacks the label of task i % (len(tasks) + 1), if that task exists."""
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
    """Writes a dataset with the package's writer."""
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
    """Overwrites fields of a dataset's manifest."""
    path = Path(folder, "manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def same_weights(one, other):
    """Whether two students have bitwise equal weights."""
    pairs = zip(one.variables, other.variables, strict=True)
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


def files(folder):
    """Returns {name: bytes} of the files in a folder."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
