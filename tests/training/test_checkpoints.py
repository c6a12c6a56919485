import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.training.checkpoints import Checkpoints


@pytest.fixture
def value():
    return tf.Variable([0.0, 0.0])


@pytest.fixture
def checkpoints(tmp_path, value):
    return Checkpoints(tmp_path / "c", 2, {"value": value})


def save(checkpoints, value, *steps):
    for step in steps:
        value.assign([step, -step])
        checkpoints.save(step, {"note": step * 0.1})


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_what_was_saved_comes_back_with_its_state(checkpoints, value):
    save(checkpoints, value, 3, 7)
    value.assign([9.0, 9.0])
    assert checkpoints.restore() == (7, {"note": 7 * 0.1})
    assert value.numpy().tolist() == [7.0, -7.0]


def test_nothing_there_is_none(checkpoints):
    assert checkpoints.restore() is None


def test_only_the_newest_stay_in_order_of_number(checkpoints, value):
    save(checkpoints, value, 1, 9, 10, 100)
    assert names(checkpoints) == ["step-00000010", "step-00000100"]


def test_saving_a_step_again_replaces_it(checkpoints, value):
    save(checkpoints, value, 4)
    value.assign([5.0, 5.0])
    checkpoints.save(4, {"note": "again"})
    assert checkpoints.restore() == (4, {"note": "again"})
    assert value.numpy().tolist() == [5.0, 5.0]


def test_state_beside_a_checkpoint_is_replaced_and_its_weights_stay(checkpoints, value):
    save(checkpoints, value, 2, 4)
    value.assign([9.0, 9.0])
    weights = {path.name: path.stat().st_mtime_ns for path in (checkpoints.folder / "step-00000004").glob("weights*")}
    checkpoints.amend(4, {"note": "again"})
    assert {name: (checkpoints.folder / "step-00000004" / name).stat().st_mtime_ns for name in weights} == weights
    assert checkpoints.restore() == (4, {"note": "again"}) and value.numpy().tolist() == [4.0, -4.0]


def test_kill_as_one_takes_the_place_of_another_loses_neither(checkpoints, value, monkeypatch):
    save(checkpoints, value, 4)
    rename = Path.rename

    def killed(self, target):
        if self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(4, {"note": "again"})
    monkeypatch.undo()
    assert names(checkpoints) == [".step-00000004.old"]
    assert checkpoints.restore() == (4, {"note": 4 * 0.1})
    assert names(checkpoints) == ["step-00000004"]


def test_state_that_is_refused_leaves_the_weights_as_they_are(checkpoints, value):
    save(checkpoints, value, 3)
    value.assign([9.0, 9.0])

    def refuse(state):
        raise UserError(f"not with {state['note']:.1f}")

    with pytest.raises(UserError, match=r"^not with 0\.3$"):
        checkpoints.restore(check=refuse)
    assert value.numpy().tolist() == [9.0, 9.0]


@pytest.mark.parametrize("how", ["cut", "changed", "gone", "no state", "broken state"])
def test_damaged_checkpoint_is_named_and_the_one_before_it_used(checkpoints, value, capsys, how):
    save(checkpoints, value, 1, 2)
    folder = checkpoints.folder / "step-00000002"
    (data,) = folder.glob("weights.data*")
    if how == "cut":
        data.write_bytes(data.read_bytes()[:-1])
    elif how == "changed":
        data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    elif how == "gone":
        data.unlink()
    elif how == "no state":
        (folder / "state.json").unlink()
    else:
        (folder / "state.json").write_text(json.dumps({"step": 2})[:-3])
    assert checkpoints.restore() == (1, {"note": 0.1})
    assert value.numpy().tolist() == [1.0, -1.0]
    said = capsys.readouterr().out
    assert "step-00000002" in said and "skipped" in said


def test_damage_of_all_is_an_error_and_no_new_start(checkpoints, value):
    save(checkpoints, value, 1, 2)
    for data in checkpoints.folder.glob("*/weights.data*"):
        data.unlink()
    with pytest.raises(UserError, match="no checkpoint is whole; bring one back, or delete the folder"):
        checkpoints.restore()


def test_those_off_schedule_push_none_out_that_a_run_may_go_back_to(tmp_path, value):
    checkpoints = Checkpoints(tmp_path / "c", 1, {"value": value}, every=4)
    save(checkpoints, value, 2, 4, 5, 7)
    assert names(checkpoints) == ["step-00000004", "step-00000007"]
    assert checkpoints.restore()[0] == 7 and checkpoints.restore(on_schedule=True)[0] == 4
    assert value.numpy().tolist() == [4.0, -4.0]
    save(checkpoints, value, 8)
    assert names(checkpoints) == ["step-00000008"]


def test_later_ones_are_dropped(checkpoints, value):
    save(checkpoints, value, 1, 2)
    checkpoints.drop_after(1)
    assert names(checkpoints) == ["step-00000001"]


def test_failed_write_leaves_what_was_there(checkpoints, value, monkeypatch):
    save(checkpoints, value, 1)

    def full(prefix):
        open(prefix + ".data-00000-of-00001", "w").close()
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(checkpoints.checkpoint, "write", full)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        checkpoints.save(2, {})
    assert names(checkpoints) == ["step-00000001"]


def test_leftover_of_a_killed_write_is_no_checkpoint_and_goes(checkpoints, value):
    save(checkpoints, value, 1)
    shutil.copytree(checkpoints.folder / "step-00000001", checkpoints.folder / ".step-00000002.99999.tmp")
    assert checkpoints.restore()[0] == 1
    save(checkpoints, value, 3)
    assert names(checkpoints) == ["step-00000001", "step-00000003"]


def test_who_does_not_write_leaves_no_file(tmp_path, value):
    reader = Checkpoints(tmp_path / "c", 2, {"value": value}, writes=False)
    reader.save(1, {})
    assert not (tmp_path / "c").exists()
