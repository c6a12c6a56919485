import resource
import struct
import zlib

import numpy as np
import pytest
import specimens
import tensorflow as tf
import toy

from must_tf.cli.app import _mendable
from must_tf.errors import UserError, first_line
from must_tf.records import deserialize, parse, serialize
from must_tf.records.schema import FILENAME, is_inside, parse_encoded, specs, task_at_fault
from must_tf.tasks import Detection


@pytest.fixture(scope="module")
def record():
    return toy.toy_records(6)[5]


def test_same_record_gives_the_same_bytes(record):
    again = toy.toy_records(6)[5]
    again.labels = dict(reversed(again.labels.items()))
    assert serialize(record, toy.TASKS) == serialize(again, toy.TASKS)
    assert serialize(record, toy.TASKS) == serialize(record, toy.TASKS[::-1])


def test_record_comes_back(record):
    back = deserialize(serialize(record, toy.TASKS), toy.TASKS)
    for field in ("encoded", "format", "height", "width", "id", "origins"):
        assert getattr(back, field) == getattr(record, field)
    for task in toy.TASKS:
        specimens.of(task).assert_same(task, back.labels[task.name], record.labels[task.name])


def test_what_comes_back_gives_the_same_bytes_again(record):
    exact = [toy.SCENE, toy.THINGS, toy.STUFF]
    once = serialize(record, exact)
    assert serialize(deserialize(once, exact), exact) == once


def test_record_holds_no_key_of_tasks_that_nobody_asked_for(record):
    example = tf.train.Example.FromString(serialize(record, [toy.DEPTH]))
    keys = set(example.features.feature)
    assert keys == set(specs([toy.DEPTH])) - {FILENAME} and all(key.split("/")[0] in ("image", "depth") for key in keys)


def test_tasks_can_be_read_apart(record):
    serialized = serialize(record, toy.TASKS)
    for task in toy.TASKS:
        specimens.of(task).assert_same(
            task, deserialize(serialized, [task]).labels[task.name], record.labels[task.name]
        )


def test_absent_labels_are_absent(record):
    bare = deserialize(serialize(toy.record(np.zeros((5, 4, 3), np.uint8)), toy.TASKS), toy.TASKS)
    assert bare.labels == {} and bare.origins == {}


def test_parse_gives_the_pixels_and_origins(record):
    parsed = parse(tf.constant(serialize(record, toy.TASKS)), toy.TASKS)
    np.testing.assert_array_equal(parsed["image"], tf.io.decode_png(record.encoded))
    assert {name: origin.numpy().decode() for name, origin in parsed["origins"].items()} == record.origins


def test_gray_images_are_read_as_three_channels():
    gray = toy.record(np.full((4, 6, 3), 77, np.uint8))
    gray.encoded = tf.io.encode_png(np.full((4, 6, 1), 77, np.uint8)).numpy()
    parsed = parse(tf.constant(serialize(gray, [])), [])
    np.testing.assert_array_equal(parsed["image"], np.full((4, 6, 3), 77))


def test_parse_runs_in_a_graph(record):
    serialized = tf.constant(serialize(record, toy.TASKS))
    graph = tf.function(lambda s: parse(s, toy.TASKS))(serialized)
    eager = parse(serialized, toy.TASKS)
    np.testing.assert_array_equal(graph["image"], eager["image"])
    same = tf.nest.map_structure(lambda a, b: np.allclose(a, b, atol=1e-6), graph["targets"], eager["targets"])
    assert all(tf.nest.flatten(same))


def png_of(height, width):
    """Returns a PNG whose header claims a size that its few bytes do not have."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def changed(record, **values):
    example = tf.train.Example.FromString(serialize(record, toy.TASKS))
    for key, value in values.items():
        feature = example.features.feature[key.replace("__", "/")]
        if isinstance(value, bytes):
            feature.bytes_list.value[:] = [value]
        else:
            feature.int64_list.value[:] = [value]
    return example.SerializeToString()


@pytest.mark.parametrize("read", [parse, parse_encoded, deserialize])
@pytest.mark.parametrize(
    "values",
    [
        {"image__height": 2**40},
        {"image__height": 2**30, "image__width": 2**30},
        {"image__height": -1},
        {"image__encoded": png_of(2**15, 2**16)},
        {"image__encoded": png_of(2**31 - 1, 1), "image__height": 2**31 - 1, "image__width": 1},
        {"image__encoded": b"\x89PNG"},
        {"image__encoded": b""},
        {"stuff__mask__encoded": png_of(2**15, 2**16)},
        {"depth__depth__encoded": toy.png(np.ones((4, 4), np.uint8))},
        {"normals__normals__encoded": toy.png(np.ones((4, 4, 3), np.uint8))},
    ],
    ids=str,
)
def test_image_or_map_of_another_size_is_an_error_before_it_is_decoded(record, read, values):
    serialized, graph = changed(record, **values), tf.function(lambda one: read(one, toy.TASKS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        read(tf.constant(serialized), toy.TASKS) if read is deserialize else graph(tf.constant(serialized))
    assert first_line(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # kB


def test_image_of_another_size_is_said_in_one_line(record):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Decode: an image or a map of 64x64; .* says 7x64"):
        deserialize(changed(record, image__height=7), toy.TASKS)


def test_name_of_the_file_is_kept_of_any_bytes_and_may_be_absent():
    for filename in ("", "a/b c.jpg", "\udcff.png"):
        record = toy.record(toy.random_image(np.random.default_rng(0), 8, 9), {})
        record.filename = filename
        serialized = serialize(record, [])
        assert deserialize(serialized, []).filename == filename
        assert (b"image/filename" in serialized) == bool(filename)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a.jpg", "a/../../b.jpg", "a\0b"])
def test_name_that_leads_out_of_its_folder_is_known(name):
    assert not is_inside(name) and is_inside("a/b.jpg")


@pytest.mark.parametrize("task", toy.VARIANTS, ids=lambda task: task.name)
def test_labels_of_another_size_than_the_image_are_refused(task):
    label = toy.random_label(task, np.random.default_rng(0), 40, 50)
    upright = toy.record(np.zeros((50, 40, 3), np.uint8), {task.name: label})
    if task.size_of(label) is None:
        serialize(upright, [task])
    else:
        with pytest.raises(
            UserError, match=rf"{upright.id}: task '{task.name}': a label of 40x50 for an image of 50x40"
        ):
            serialize(upright, [task])


def other_lengths(serialized, task):
    """Yields {feature of a label: copy of a record in which its list, or the bytes that it is, is twice as long}."""
    for key in task.features():
        example = tf.train.Example.FromString(serialized)
        feature = example.features.feature[key] if key in example.features.feature else tf.train.Feature()
        if not feature.WhichOneof("kind") or key.rpartition("/")[2] in ("encoded", "kind"):
            continue  # what follows an image in its bytes is not read
        values = getattr(feature, feature.WhichOneof("kind")).value
        values[:] = [values[0] * 2] if isinstance(values[0], bytes) and len(values) == 1 else [*values, *values]
        yield key, example.SerializeToString()


@pytest.mark.parametrize("task", toy.VARIANTS, ids=lambda task: task.name)
def test_labels_of_a_wrong_shape_are_one_line_that_names_the_task(task):
    image = np.zeros((40, 50, 3), np.uint8)
    label = toy.random_label(task, np.random.default_rng(0), 40, 50)
    graph = tf.function(lambda serialized: parse_encoded(serialized, (task,))).get_concrete_function(
        tf.TensorSpec([], tf.string)
    )
    for key, damaged in other_lengths(serialize(toy.record(image, {task.name: label}), [task]), task):
        if key.endswith(("grid/values", "mask/counts")):
            continue  # a wider grid is one, and masks are counted where they are used
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            graph(tf.constant(damaged))
        said = _mendable(error.value)
        assert task.name in said and "must inspect" in said and "\n" not in said and "user-defined" not in said, key


@pytest.mark.parametrize("name", ["my boxes", "Käse", "a.b-c_d"])
def test_task_at_fault_has_its_own_name(name):
    task = Detection(name, ("a",))
    label = {"boxes": np.array([[0, 0, 0.5, 0.5]]), "classes": np.array([0]), "scores": np.array([1.0])}
    example = tf.train.Example.FromString(serialize(toy.record(np.zeros((8, 8, 3), np.uint8), {name: label}), [task]))
    example.features.feature[f"{name}/box/ymin"].float_list.value.append(0)
    data = tf.data.Dataset.from_tensors(example.SerializeToString()).map(lambda one: parse_encoded(one, (task,)))
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        next(iter(data))
    assert task_at_fault(error.value) == name


def test_folder_is_no_task_at_fault():
    assert task_at_fault(tf.errors.DataLossError(None, None, "corrupted record at 0 in data/decode/train/a")) == ""
