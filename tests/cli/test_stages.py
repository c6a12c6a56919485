import os

import pytest

from must_tf import storage
from must_tf.cli.stages import Stage, run_stages
from must_tf.errors import UserError


def python(name, code, *needs):
    """Returns a stage that runs Python code once and whose product has the stage's name."""
    return Stage(name, ("-n1", "-r1", code), name, needs, module="timeit")


def test_failed_stage_is_an_error_with_the_folder_the_last_line_and_the_log(tmp_path):
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS")
    bad = Stage("cellar", ("rooms", "--splits=cellar/train", "--out=rooms"), "rooms/cellar/train/manifest.json")
    after = Stage("after", ("report", "--out=report.html"), "report.html", ("cellar",))
    with pytest.raises(UserError) as raised:
        run_stages([bad, after], tmp_path, 1)
    message = str(raised.value)
    assert (
        message.startswith(f"{tmp_path}: stage cellar failed: ") and "cellar/train" in message and "\n" not in message
    )
    log = message.rpartition("(log: ")[2].removesuffix(")")
    assert log.startswith(str(tmp_path)) and "cellar/train" in open(log).read()  # noqa: SIM115
    assert not (tmp_path / "report.html").exists()
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == threads


def test_stage_finds_tensorflow_imported_without_what_it_does_not_need_and_left_out_of_garbage_collections(tmp_path):
    found = "'tensorflow' in sys.modules and 'keras' not in sys.modules and gc.get_freeze_count() > 100_000"
    run_stages([python("only", f"import gc, sys; assert {found}; open('only', 'w').close()")], tmp_path, 1)


def test_stages_run_once_and_after_the_stages_they_need(tmp_path):
    first = python("first", "open('first', 'w').close()")
    second = python("second", "assert open('first'); open('second', 'w').close()", "first")
    run_stages([first, second], tmp_path, 2)
    times = storage.read_json(tmp_path / "minutes.json")
    assert set(times) == {"first", "second"}
    (tmp_path / "second").unlink()
    before = (tmp_path / "first").stat().st_mtime_ns
    run_stages([first, second], tmp_path, 2)
    assert (tmp_path / "second").exists() and (tmp_path / "first").stat().st_mtime_ns == before


def test_minutes_before_a_kill_count(tmp_path):
    storage.write_json(tmp_path / "unfinished.json", {"first": 7.0})
    first = python("first", "open('first', 'w').close()")
    run_stages([first], tmp_path, 1)
    assert 7 <= storage.read_json(tmp_path / "minutes.json")["first"] < 8
    (tmp_path / "first").unlink()
    run_stages([first], tmp_path, 1)
    assert storage.read_json(tmp_path / "minutes.json")["first"] < 1


def test_killed_stage_and_stage_without_its_product_are_errors(tmp_path):
    with pytest.raises(
        UserError, match=r"stage killed was killed by signal 9 \(memory may be short\); the same command"
    ):
        run_stages([python("killed", "import os; os.kill(os.getpid(), 9)")], tmp_path, 1)
    with pytest.raises(UserError, match="stage idle ended without its product, idle"):
        run_stages([python("idle", "pass")], tmp_path, 1)


def test_wrong_order_of_stages_and_a_folder_in_use_are_refused(tmp_path):
    with pytest.raises(UserError, match="stage b: needs a, which does not come before it"):
        run_stages([python("b", "pass", "a"), python("a", "pass")], tmp_path, 1)
    with storage.locked(tmp_path), pytest.raises(UserError, match="another run is at work there"):
        run_stages([python("a", "pass")], tmp_path, 1)
