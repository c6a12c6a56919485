import os

import pytest

from must_tf import storage
from must_tf.errors import UserError
from must_tf.stages import Stage, run_stages


def python(name, code, *needs):
    """A stage that runs some Python once, and whose product has its name."""
    return Stage(name, ("-n1", "-r1", code), name, needs, module="timeit")


def test_stage_that_fails_is_told_with_its_folder_its_last_line_and_its_log(tmp_path):
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS")
    bad = Stage("cellar", ("rooms", "--splits=cellar/train", "--out=rooms"), "rooms/cellar/train/manifest.json")
    after = Stage("after", ("report", "--out=report.html"), "report.html", ("cellar",))
    with pytest.raises(UserError) as raised:
        run_stages([bad, after], tmp_path, 1)
    said = str(raised.value)
    assert said.startswith(f"{tmp_path}: stage cellar failed: ") and "cellar/train" in said and "\n" not in said
    log = said.rpartition("(log: ")[2].removesuffix(")")
    assert log.startswith(str(tmp_path)) and "cellar/train" in open(log).read()  # noqa: SIM115
    assert not (tmp_path / "report.html").exists()
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == threads


def test_stages_run_once_and_after_those_that_they_need(tmp_path):
    first = python("first", "open('first', 'w').close()")
    second = python("second", "assert open('first'); open('second', 'w').close()", "first")
    run_stages([first, second], tmp_path, 2)
    times = storage.read_json(tmp_path / "minutes.json")
    assert set(times) == {"first", "second"}
    (tmp_path / "second").unlink()
    before = (tmp_path / "first").stat().st_mtime_ns
    run_stages([first, second], tmp_path, 2)
    assert (tmp_path / "second").exists() and (tmp_path / "first").stat().st_mtime_ns == before


def test_minutes_of_a_stage_that_was_killed_count_too(tmp_path):
    storage.write_json(tmp_path / "unfinished.json", {"one": 7.0})
    one = python("one", "open('one', 'w').close()")
    run_stages([one], tmp_path, 1)
    assert 7 <= storage.read_json(tmp_path / "minutes.json")["one"] < 8
    (tmp_path / "one").unlink()
    run_stages([one], tmp_path, 1)
    assert storage.read_json(tmp_path / "minutes.json")["one"] < 1


def test_stage_that_is_killed_or_that_makes_nothing_is_told_as_what_it_is(tmp_path):
    with pytest.raises(UserError, match="stage killed was killed by signal 9"):
        run_stages([python("killed", "import os; os.kill(os.getpid(), 9)")], tmp_path, 1)
    with pytest.raises(UserError, match="stage idle ended without its product, idle"):
        run_stages([python("idle", "pass")], tmp_path, 1)


def test_stages_that_could_not_begin_are_refused(tmp_path):
    with pytest.raises(UserError, match="stage b: needs a, which does not come before it"):
        run_stages([python("b", "pass", "a"), python("a", "pass")], tmp_path, 1)
    with storage.locked(tmp_path), pytest.raises(UserError, match="another run is at work there"):
        run_stages([python("a", "pass")], tmp_path, 1)
