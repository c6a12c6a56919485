"""Readers of files refuse what is wrong in one line, whatever it is: random and damaged manifests, configs, records.

`MUST_TF_EXAMPLES=5000 python -m pytest tests/test_fuzz.py` tries more. An input that found a defect stays in
tests/data/hostile.json, and is tried by `test_inputs_that_once_found_a_defect`.
"""

import json
import re
import time
from pathlib import Path

import pytest
import tensorflow as tf
import toy
from damage import altered, damaged, frame, values
from hypothesis import given, settings
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.parsing import load_json, load_yaml, read_json, read_yaml
from must_tf.pipeline import Augment
from must_tf.records import Quarantined, Record, framing, open_dataset, read_manifest, verify
from must_tf.records.manifest import is_dataset
from must_tf.records.schema import parse, parse_encoded
from must_tf.saving import read_architecture, read_input_size, write_architecture
from must_tf.sources import open_source
from must_tf.student import Architecture
from must_tf.tasks import from_json, to_json
from must_tf.training import Balance, read_metrics
from must_tf.training.config import from_dict, read_config, to_dict

# {name of a file: its bytes, as Latin-1}
HOSTILE = json.loads((Path(__file__).parent / "data" / "hostile.json").read_text())


def refused_in_one_line(read, *arguments):
    """Calls a reader; returns None where it refuses its input, in one short line."""
    try:
        return read(*arguments)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        str(error).encode()
        return None


def texts(value):
    """Strategy: a JSON text of altered values, or with damaged bytes."""
    text = json.dumps(value)
    return altered(value).map(json.dumps).map(str.encode) | damaged(text.encode())


READERS = {".yaml": read_yaml, ".json": read_json, ".tfrecord": framing.check}


@pytest.mark.parametrize("name", HOSTILE)
def test_inputs_that_once_found_a_defect(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name].encode("latin-1"))
    start = time.monotonic()
    with pytest.raises(UserError, match=re.escape(str(path))) as error:
        READERS[path.suffix](path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500 and time.monotonic() - start < 10


CARD = b"""\
task: detection
input_size: [64, 96]   # height, width
range: &range [0, 1]
mean: [0.485, 0.456, 0.406]
outputs: {boxes: "a:0", scores: b, more: [*range, *range]}
base: &base {x: 1e-3, y: yes}
class_names:
  - chair
  - "no"
derived: {<<: *base, z: null}
"""


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")) | damaged(CARD)
)
def test_any_text_is_yaml_or_refused(data):
    text = data.decode("utf-8", "replace")
    refused_in_one_line(load_yaml, text, "f")


@given(st.binary(max_size=200) | texts({"a": [1, {"b": None}], "c": "text", "d": 1.5}))
def test_any_bytes_are_json_or_refused(data):
    refused_in_one_line(load_json, data, "f")


CONFIG = json.loads(
    json.dumps(
        to_dict(
            toy.experiment(
                "a",
                "b",
                tasks=toy.VARIANTS,
                balance=Balance("paper", weights={"depth": 2.0}, recipes={"scene": (256, 0.1)}),
                augment=Augment(scale=(0.5, 2.0)),
                sizes=(64, (64, 96)),
            )
        )
    )
)


@given(altered(CONFIG) | values)
def test_any_config_is_an_experiment_or_refused(value):
    made = refused_in_one_line(from_dict, value)
    if made is not None:
        assert from_dict(to_dict(made)) == made and isinstance(hash(made), int)


@given(texts(CONFIG))
def test_any_config_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_bytes(data)
    refused_in_one_line(read_config, path)
    refused_in_one_line(read_input_size, path.parent)


@given(st.sampled_from([to_json(task) for task in toy.VARIANTS]).flatmap(altered) | values)
def test_any_task_is_one_or_refused(value):
    made = refused_in_one_line(from_json, value)
    if made is not None:
        assert from_json(json.loads(json.dumps(to_json(made)))) == made and isinstance(hash(made), int)


@given(st.data())
def test_any_manifest_is_read_or_refused(toy_data, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "manifest"
    folder.mkdir(exist_ok=True)
    value = json.loads((toy_data / "manifest.json").read_text())
    (folder / "manifest.json").write_bytes(data.draw(texts(value)))
    is_dataset(folder)
    manifest = refused_in_one_line(read_manifest, folder, False)
    if manifest is not None:
        assert manifest.count >= 0 and set(manifest.counts) == {task.name for task in manifest.tasks}
        assert all(path.parent == folder for path in map(Path, open_dataset(folder, whole=False).paths))
        json.dumps(manifest.teachers), manifest.quarantined, manifest.empty


@given(st.data())
def test_any_architecture_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "architecture"
    folder.mkdir(exist_ok=True)
    write_architecture(Architecture(toy.TRUNK, toy.TASKS), folder, {"weights.index": "0" * 64})
    value = json.loads((folder / "architecture.json").read_text())
    (folder / "architecture.json").write_bytes(data.draw(texts(value)))
    refused_in_one_line(read_architecture, folder)


@given(damaged(b'{"step": 1, "loss": 2.5}\n{"step": 2}\n{"step": 3, "lo'))
def test_any_metrics_are_read_or_refused(tmp_path_factory, data):
    (tmp_path_factory.getbasetemp() / "metrics.jsonl").write_bytes(data)
    refused_in_one_line(read_metrics, tmp_path_factory.getbasetemp())


# Records

FRAMES = b"".join(map(frame, (b"", b"abc", b"x" * 300)))


@given(damaged(FRAMES) | st.binary(max_size=100) | st.integers(0, 2**64 - 1).map(lambda n: FRAMES + frame(b"abc", n)))
def test_what_framing_takes_tensorflow_reads_without_a_crash(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "frames"
    path.write_bytes(data)
    flaw = framing.flaw(path)
    assert flaw is None or (0 <= flaw.offset < len(data) and "\n" not in str(flaw))
    refused_in_one_line(framing.check, path)
    try:
        read = list(framing.read_all([str(path)]).as_numpy_iterator())
    except tf.errors.OpError:
        return
    assert flaw is None and b"".join(map(frame, read)) == data


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A dataset of one shard with few records of all kinds, and its records as bytes."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    toy.write_dataset(folder, toy.toy_records(8)[4:], num_shards=1)
    (path,) = open_dataset(folder).paths
    return folder, Path(path), list(tf.data.TFRecordDataset(path).as_numpy_iterator())


@st.composite
def altered_record(draw, serialized):
    """Changes features of a record: their types, lengths and values; or its bytes."""
    if draw(st.booleans()):
        return draw(damaged(serialized))
    example = tf.train.Example.FromString(serialized)
    features = example.features.feature
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(features)))
        feature = features[key]
        kind = draw(st.sampled_from(["bytes_list", "int64_list", "float_list", "gone", "damaged"]))
        if kind == "damaged" and feature.bytes_list.value:
            feature.bytes_list.value[0] = draw(damaged(feature.bytes_list.value[0]))
        elif kind == "gone":
            del features[key]
            if not features:
                break
        elif kind != "damaged":
            one = {
                "bytes_list": st.binary(max_size=20),
                "int64_list": st.sampled_from([0, -1, 2**31, 2**63 - 1, -(2**63)]) | st.integers(-5, 300),
                "float_list": st.floats(width=32),
            }[kind]
            feature.Clear()
            getattr(feature, kind).value.extend(draw(st.lists(one, max_size=5)))
    return example.SerializeToString()


@pytest.fixture(scope="module")
def graphs():
    """Records → tensors in a graph, as training and evaluation read them."""
    spec = tf.TensorSpec([], tf.string)
    return [
        tf.function(lambda one, read=read: read(one, toy.TASKS), input_signature=[spec])
        for read in (parse, parse_encoded)
    ]


@given(st.data())
def test_any_record_becomes_tensors_of_its_image_or_an_error(shard, graphs, data):
    serialized = data.draw(st.sampled_from(shard[2]).flatmap(altered_record))
    for graph in graphs:
        try:
            parsed = graph(tf.constant(serialized))
        except (tf.errors.OpError, UnicodeDecodeError):  # TensorFlow's message may be no UTF-8
            continue
        size = parsed["size"].numpy().tolist() if "size" in parsed else list(parsed["image"].shape[:2])
        for name in ("stuff", "depth", "normals"):
            for part in parsed["targets"][name].values():
                assert list(part.shape[:2]) == size


@settings(max_examples=settings().max_examples // 4)  # each takes a second
@given(st.data())
def test_any_record_is_verified_and_read_or_named(shard, data):
    folder, path, records = shard
    new = [data.draw(altered_record(record)) for record in records]
    path.write_bytes(b"".join(map(frame, new)))
    (entry,) = json.loads((folder / "manifest.json").read_text())["shards"]
    toy.change_manifest(folder, shards=[{**entry, "bytes": path.stat().st_size}])
    findings = verify(open_dataset(folder))
    assert findings.problems and all("\n" not in problem for problem in findings.problems)
    for part in open_source(folder).shards:
        entries = list(part())
        assert len(entries) == len(records) and all(isinstance(one, (Record, Quarantined)) for one in entries)
