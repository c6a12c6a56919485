import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
import toy
from damage import frame

from must_tf.errors import UserError
from must_tf.pipeline.batches import evaluation_batches, training_batches
from must_tf.records import Quarantined, Record, framing, open_dataset, verify
from must_tf.report.pictures import spread
from must_tf.sources import open_source


@pytest.fixture
def hostile(tmp_path):
    """A dataset of one shard whose third and last record claims 2^62 bytes, under sound checksums."""
    toy.write_dataset(tmp_path / "d", toy.toy_records(3, tasks=[toy.SCENE]), [toy.SCENE], num_shards=1)
    (path,) = map(Path, open_dataset(tmp_path / "d").paths)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    whole = [*map(frame, records[:2]), frame(records[2], 2**62)]
    assert path.read_bytes() == b"".join(map(frame, records))  # the frames of the tests are those of TensorFlow
    path.write_bytes(b"".join(whole))
    return tmp_path / "d"


PROBLEM = r"record 2, at byte \d+, is cut short or damaged: it says 4611686018427387904 bytes, the file has \d+"


@pytest.mark.parametrize(
    ("content", "index", "offset"),
    [
        (frame(b"ab") + frame(b"c", 2**62), 1, 18),
        (frame(b"ab", 2**64 - 1), 0, 0),
        (frame(b"ab", 3), 0, 0),
        (frame(b"ab")[:-1], 0, 0),
        (frame(b"ab") + b"1234567", 1, 18),
        (frame(b"ab") + bytes(8), 1, 18),
    ],
)
def test_first_frame_that_cannot_be_one_is_told(tmp_path, content, index, offset):
    (tmp_path / "a").write_bytes(content)
    flaw = framing.flaw(tmp_path / "a")
    assert (flaw.index, flaw.offset) == (index, offset) and "\n" not in str(flaw)
    with pytest.raises(UserError, match=f"a: record {index}, at byte {offset}, is cut short or damaged"):
        framing.check(tmp_path / "a")


def test_record_larger_than_any_example_is_refused(tmp_path):
    with open(tmp_path / "a", "wb") as file:
        file.write(frame(b"", 2**31))
        file.truncate(2**31 + 100)  # takes no room on the disk
    assert "no record has more than 2147483647" in str(framing.flaw(tmp_path / "a"))


@pytest.mark.parametrize("records", [[], [b""], [b"", b"abc", b"x" * 100_000]])
def test_what_tensorflow_writes_is_sound_and_read_as_it_is(tmp_path, records):
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        for record in records:
            writer.write(record)
    assert framing.flaw(tmp_path / "a") is None and list(framing.lengths(tmp_path / "a")) == [*map(len, records)]
    paths = [str(tmp_path / "a")] * 2
    assert list(framing.read_all(paths).as_numpy_iterator()) == 2 * records


def test_file_that_did_not_change_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(frame(b"ab"))
    assert framing.flaw(path) is None
    monkeypatch.setattr(framing, "lengths", None)
    assert framing.flaw(path) is None
    monkeypatch.undo()
    path.write_bytes(frame(b"abc", 2**62))
    assert framing.flaw(path) is not None


def test_length_beyond_the_file_is_named_wherever_records_are_read(hostile):
    dataset = open_dataset(hostile)
    assert any(f"{dataset.paths[0]}: " in problem for problem in verify(dataset).problems)
    findings = verify(dataset)
    assert findings.records == 2 and "it and all after it cannot be read" in " ".join(findings.problems)
    with pytest.raises(UserError, match=f"tfrecord-00000-of-00001: {PROBLEM}"):
        list(dataset.records())
    whole, last, lost = open_source(hostile).shards[0]()
    assert isinstance(whole, Record) and isinstance(last, Record) and isinstance(lost, Quarantined)
    assert "4611686018427387904 bytes" in lost.reason and "record 2" in lost.name
    assert [record.id for record in spread(dataset, 3)] == []  # the verification has named it


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_length_beyond_the_file_ends_training_and_evaluation_naming_the_file(hostile, kind):
    dataset, tasks = open_dataset(hostile), [toy.SCENE]
    make = {
        "training": lambda: training_batches([dataset], tasks, [toy.VIEW], 2),
        "evaluation": lambda: evaluation_batches(dataset, tasks, toy.VIEW, 2),
    }[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"TFRecord .*tfrecord-00000-of-00001: {PROBLEM}"):
        list(make().take(2))


def test_source_of_tfrecords_quarantines_what_claims_too_much(tmp_path):
    (record,) = toy.toy_records(1, tasks=[])
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(record.encoded)
    sound = frame(example.SerializeToString())
    (tmp_path / "a.tfrecord").write_bytes(sound + frame(b"x", 2**62))
    found, lost = open_source(f"tfrecord:{tmp_path}/a.tfrecord").shards[0]()
    assert isinstance(found, Record) and "4611686018427387904" in lost.reason
    (tmp_path / "b.tfrecord").write_bytes(frame(b"x", 2**62))
    with pytest.raises(
        UserError, match=r"b\.tfrecord: is not a TFRecord, or damaged from the start .*4611686018427387904"
    ):
        open_source(f"tfrecord:{tmp_path}/b.tfrecord")


@pytest.mark.slow
def test_tensorflow_itself_ends_the_process(hostile):
    """Why the lengths are checked; where this fails, TensorFlow checks them, and `framing` may go."""
    script = "import sys, tensorflow as tf; list(tf.data.TFRecordDataset(sys.argv[1]))"
    command = [sys.executable, "-c", script, open_dataset(hostile).paths[0]]
    assert subprocess.run(command, capture_output=True, check=False, env=os.environ).returncode < 0
