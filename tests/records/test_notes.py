"""Notes of many shards become one file: finishing reads few files, and ends as if there had been one for each shard."""

import shutil
from pathlib import Path

import pytest
import toy

from must_tf import parsing
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.records import Plan, Shards, finish, notes, open_dataset, pending, verify, write_shard, written

RECORDS = toy.toy_records(7, tasks=[toy.SCENE])


def plan(folder, num_shards=7):
    return Plan(folder, "toy", "train", (toy.SCENE,), num_shards, {})


def write(made, indexes):
    for index in indexes:
        write_shard(made, index, RECORDS[index % 7 :: made.num_shards])


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def whole(tmp_path):
    made = plan(tmp_path / "whole")
    pending(made)
    write(made, range(7))
    finish(made)
    return files(made.folder)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(notes, "BLOCK", 3)


def test_gathered_notes_lead_to_the_same_dataset(whole, tmp_path):
    made = plan(tmp_path / "d")
    assert pending(made) == list(range(7))
    write(made, [0, 1, 2, 5, 4])
    notes.gather(made, 1)
    assert {name for name in files(made.folder) if name.startswith(".s")} == {".shards-00000.json"}
    assert len([name for name in files(made.folder) if name.startswith(".toy")]) == 2
    assert pending(made) == [3, 6] and [shard.count for shard in written(made)] == [1] * 5
    write(made, [3, 6])
    notes.gather(made, 3)
    finish(made)
    assert files(made.folder) == whole


def test_a_kill_before_the_gathered_notes_are_removed_changes_nothing(whole, tmp_path, monkeypatch):
    made = plan(tmp_path / "d")
    pending(made)
    write(made, range(4))
    with monkeypatch.context() as patch:
        patch.setattr(notes, "_remove", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            notes.gather(made, 0)
    assert {".shards-00000.json", f".{made.shard_name(0)}.json"} < set(files(made.folder))
    assert pending(made) == [4, 5, 6] and [shard.name for shard in written(made)] == list(
        map(made.shard_name, range(4))
    )
    write(made, [4, 5, 6])
    finish(made)
    assert files(made.folder) == whole


def test_shard_that_was_made_again_wins_over_what_was_gathered(whole, tmp_path):
    made = plan(tmp_path / "d")
    pending(made)
    write(made, range(7))
    write_shard(made, 1, [])  # and something went wrong with it
    notes.gather(made, 0)
    made.shard(1).unlink()
    assert pending(made) == [1]
    write(made, [1])
    notes.gather(made, 1)  # leaves the note
    finish(made)
    assert files(made.folder) == whole


@pytest.mark.parametrize("same", [True, False], ids=["the same bytes", "those of another machine"])
def test_shard_that_was_deleted_from_a_finished_dataset_is_made_again_alone(whole, tmp_path, same):
    shutil.copytree(tmp_path / "whole", tmp_path / "d")
    made = plan(tmp_path / "d")
    made.shard(4).unlink()
    assert pending(made) == [4]
    assert {".shards-00000.json", ".shards-00002.json"} < set(files(made.folder))
    again = write_shard(made, 4, RECORDS[4:5] if same else RECORDS[3:6])
    assert pending(made) == []  # as after a kill
    assert finish(made).shards[4] == again and verify(open_dataset(made.folder)).problems == []
    assert (files(made.folder) == whole) == same


def test_a_shard_that_was_cut_short_is_made_again_though_a_kill_left_its_note(whole, tmp_path):
    made = plan(tmp_path / "d")
    pending(made)
    write(made, range(7))
    notes.gather(made, 1)
    left = files(made.folder)
    finish(made)
    for name in left.keys() - files(made.folder).keys():
        (made.folder / name).write_bytes(left[name])
    made.shard(0).write_bytes(b"")
    made.shard(6).unlink()
    assert pending(made) == [0, 6]
    write(made, [0, 6])
    finish(made)
    assert files(made.folder) == whole


def test_what_was_gathered_may_be_larger_than_other_files_of_json(tmp_path, monkeypatch):
    made = plan(tmp_path / "d")
    pending(made)
    write(made, range(7))
    before = list(written(made))
    monkeypatch.setattr(parsing, "_MOST_BYTES", 700)
    notes.gather(made, 1)
    assert (made.folder / ".shards-00000.json").stat().st_size > 700 and list(written(made)) == before


def test_lost_and_damaged_notes_are_named(tmp_path):
    made = plan(tmp_path / "d", 6)
    pending(made)
    write(made, range(6))
    notes.gather(made, 0)
    (made.folder / f".{made.shard(4).name}.json").unlink()
    with pytest.raises(UserError, match="d: 1 of 6 shards are missing"):
        finish(made)
    (made.folder / ".shards-00000.json").write_text("[3]")
    with pytest.raises(UserError, match=r"\.shards-00000\.json: .*3 received.*delete it"):
        list(written(made))
    shutil.copy(made.folder / f".{made.shard(3).name}.json", made.folder / f".{made.shard(5).name}.json")
    (made.folder / ".shards-00000.json").unlink()
    with pytest.raises(UserError, match=r"00005-of-00006\.json: name: '.*00003-of.*' received; expected .*; delete it"):
        list(written(made))
    (made.folder / ".shards-00000.json").write_text("[]")
    with pytest.raises(UserError, match=r"\.shards-00000\.json: does not hold .* shards 0 to 2; delete it"):
        list(written(made))


def test_calls_of_a_store_do_not_grow_with_the_shards_but_with_their_blocks(monkeypatch):
    seen = []
    call = Remote._call
    monkeypatch.setattr(Remote, "_call", lambda self, operation, *args, **kw: (
        seen.append(operation), call(self, operation, *args, **kw))[1])  # fmt: skip

    def calls(blocks):
        made = plan(Remote(f"memory://notes/{blocks}"), 3 * blocks)
        pending(made)
        write(made, range(3 * blocks))
        for index in range(0, 3 * blocks, 3):
            notes.gather(made, index)
        seen.clear()
        assert pending(made) == [] and len(Shards(written(made))) == 3 * blocks
        resumed = len(seen)
        finish(made)
        finished = len(seen) - resumed
        seen.clear()
        open_dataset(made.folder)
        assert seen.count("find") == 1
        return resumed, finished, len(seen)

    few, many = calls(1), calls(5)
    assert many[0] - few[0] <= 4 * 2  # size and content of what was gathered
    assert many[1] - few[1] <= 4 * 3  # and it is deleted
    assert many[2] == few[2]
