import json
import time
from pathlib import Path

import pytest
import toy

from must_tf.errors import UserError
from must_tf.records import Manifest, Plan, Shard, open_dataset, read_manifest
from must_tf.records.manifest import is_dataset
from must_tf.records.writer import pending, write_shard, written


def first_of(folder):
    return json.loads(Path(folder, "manifest.json").read_text())["shards"][0]


def test_manifest_is_written_as_it_is_read(data):
    before = (data / "manifest.json").read_bytes()
    read_manifest(data).write(data)
    assert (data / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/passwd", "..", ".manifest", "a/b", "", "a\0b", 3, None],
)
def test_shard_that_could_be_elsewhere_is_refused(data, name):
    toy.change_manifest(data, shards=[first_of(data) | {"name": name}])
    for whole in (True, False):
        with pytest.raises(UserError, match=r"manifest\.json: .*(the name of a shard|expected text)"):
            read_manifest(data, whole)


@pytest.mark.parametrize("field", ["name", "split"])
def test_name_and_split_are_plain_names(data, field):
    toy.change_manifest(data, **{field: "../../x"})
    with pytest.raises(UserError, match=rf"{field}: '../../x' received"):
        read_manifest(data)


def test_task_that_could_be_a_folder_elsewhere_is_refused(data, tmp_path):
    toy.change_manifest(data, tasks=[{"kind": "depth", "name": "../../evil"}])
    with pytest.raises(UserError, match=r"'\.\./\.\./evil' received; expected the name of a task"):
        read_manifest(data)
    with pytest.raises(UserError, match=r"'\.\./\.\./evil' received; expected the name of a split"):
        Plan(tmp_path, "toy", "../../evil", toy.TASKS, 1, {})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"count": -1}, "-1 received; expected counts from 0 to"),
        ({"count": 2**63}, "9223372036854775808 received; expected counts from 0 to"),
        ({"count": 1.5}, r"shards\[0\].count: 1.5 received"),
        ({"bytes": True}, r"shards\[0\].bytes: True received"),
        ({"sha256": None}, r"sha256: None received"),
        ({"labels": {"scene": 3}}, "labels.scene: 3 received"),
        ({"labels": {"scene": {"human": "3"}}}, "labels.scene.human: '3' received"),
        ({"labels": {"scenes": {"human": 3}}}, "labels of 'scenes', which is no task"),
        ({"empty": {"x": {}}}, "labels of 'x', which is no task"),
        ({"quarantined": [{"name": "a"}]}, "a name and a reason"),
        ({"quarantined": [{"name": "a", "reason": 1}]}, "reason: 1 received"),
        ({"shape": 1}, r"'shards\[0\].shape' is unknown"),
    ],
)
def test_shard_with_a_value_of_another_type_is_refused(data, fields, said):
    toy.change_manifest(data, shards=[first_of(data) | fields])
    with pytest.raises(UserError, match=rf"manifest\.json: .*{said}.*delete it and run the command that made it again"):
        read_manifest(data)


def test_a_number_of_a_shard_that_no_file_of_ours_has_is_named(data):
    toy.change_manifest(data, shards=[first_of(data) | {"count": 2**64}])
    with pytest.raises(UserError, match=r"manifest\.json: 18446744073709551616 received; expected 64 bits at most"):
        read_manifest(data)


@pytest.mark.parametrize("field", ["count", "bytes"])
def test_shards_with_more_in_all_than_can_be_counted_are_refused(data, field):
    toy.change_manifest(data, shards=[first_of(data) | {field: 2**62}] * 3)
    with pytest.raises(UserError, match=r"shards: 13835058055282163712 .* in all received; expected 2\^63 - 1 at most"):
        read_manifest(data)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"shards": {}}, "shards: {} received; expected a list of values"),
        ({"tasks": 3}, "tasks: 3 received"),
        ({"tasks": [3]}, "3 received; expected the fields of a task"),
        ({"teachers": []}, r"teachers: \[\] received"),
        ({"teachers": {"x": 1}}, "teachers.x: 1 received"),
        ({"teachers": {"x": {"task": 1}}}, "task: 1 received"),
        ({"teachers": {"x": {"task": {"name": 3}}}}, r"x'?\.task\.name: 3 received"),
        ({"teachers": {"x": {"task": {"kind": "detection", "min_score": "a"}}}}, r"task\.min_score: 'a' received"),
        ({"teachers": {"x": {"license": ["a"]}}}, "license: "),
        ({"teachers": {"x": {"members": [3]}}}, "members.* 3 received"),
        ({"teachers": {"x": {"derived_from": {"task": 3}}}}, "a teacher that it is made of.task: 3 received"),
        ({"teachers": {"x": {"input_size": 3}}}, "input_size: 3 received"),
        ({"source": {"license": 3}}, r"source\.license: 3 received"),
        ({"name": 3}, "name: 3 received"),
    ],
)
def test_manifest_with_a_value_of_another_type_is_refused(data, fields, said):
    toy.change_manifest(data, **fields)
    with pytest.raises(UserError, match=rf"manifest\.json: .*{said}"):
        read_manifest(data)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "3", "null", '{"schema": 1}', '{"schema": [1]}'])
def test_what_is_no_manifest_is_refused_in_one_line(data, text):
    (data / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: ") as error:
        open_dataset(data)
    assert "\n" not in str(error.value)
    assert is_dataset(data) == (text in ("[" * 100_000, "{"))


def test_note_of_a_shard_that_is_damaged_is_named(tmp_path):
    plan = Plan(tmp_path / "d", "toy", "train", (toy.SCENE,), 1, {})
    pending(plan)
    shard = write_shard(plan, 0, toy.toy_records(2, tasks=[toy.SCENE]))
    assert list(written(plan)) == [shard]
    (note,) = plan.folder.glob(".toy*.json")
    note.write_text("[]")
    with pytest.raises(UserError, match=r"\.json: \[\] received.*delete it"):
        list(written(plan))


def test_manifest_of_many_shards_opens_in_little_time(tmp_path):
    shards = [
        Shard(f"toy-train.tfrecord-{i:05d}-of-10000", 1000, 10**8, "0" * 64, {"scene": {"human": 1000}})
        for i in range(10_000)
    ]
    Manifest("toy", "train", (toy.SCENE,), {}, {}, shards).write(tmp_path)
    start = time.monotonic()
    assert read_manifest(tmp_path, whole=False).count == 10**7
    assert time.monotonic() - start < 10


def test_a_kind_of_a_package_that_is_not_installed_is_no_damage(data):
    toy.change_manifest(data, tasks=[{"kind": "poses", "name": "people"}])
    with pytest.raises(UserError, match="task kind 'poses' is unknown") as error:
        read_manifest(data)
    assert "damaged" not in str(error.value) and "installed" in str(error.value)
