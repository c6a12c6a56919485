import errno
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from must_tf import storage
from must_tf.errors import UserError, nearest


def test_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    with storage.replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    with pytest.raises(KeyboardInterrupt), storage.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_json_comes_back_and_broken_json_is_refused_by_name(tmp_path):
    storage.write_json(tmp_path / "a.json", {"é": [1, None]})
    assert storage.read_json(tmp_path / "a.json") == {"é": [1, None]}
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "b.json"):
        with pytest.raises(UserError, match=name):
            storage.read_json(tmp_path / name)


def test_scratch_of_a_killed_process_goes_with_the_next_one(tmp_path):
    code = "from must_tf import storage; print(storage.scratch_folder(), flush=True); input()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)
        return process, Path(process.stdout.readline().strip())

    killed, left = start()
    killed.kill()
    killed.communicate()
    assert left.is_dir()
    alive, used = start()
    other, _ = start()
    assert not left.parent.exists() and used.is_dir()
    other.communicate("\n")
    assert used.is_dir()
    alive.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_workdir_of_a_killed_run_is_no_scratch(tmp_path):
    run = tmp_path / "must_tf-run"
    run.mkdir()
    (run / storage.LOCK).touch()  # a killed process leaves it
    with storage.scratch(tmp_path) as scratch:
        assert scratch.is_dir() and (run / storage.LOCK).is_file()


def test_hash_is_that_of_the_bytes(tmp_path):
    storage.write_bytes(tmp_path / "a", b"abc" * 100000)
    assert storage.sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100000).hexdigest()


def test_hint_names_the_nearest_or_all():
    assert nearest("detph", ["depth", "scene"]) == "did you mean 'depth'?"
    assert nearest("xyz", ["scene", "depth"]) == "known: depth, scene"


def test_folder_is_held_by_one_at_a_time_and_free_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), storage.locked(tmp_path / "new"):
        with pytest.raises(UserError, match="new: another run is at work there"), storage.locked(tmp_path / "new"):
            pass
        raise KeyboardInterrupt
    with storage.locked(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def test_lock_whose_file_was_taken_away_meanwhile_is_not_taken_for_one(tmp_path, monkeypatch):
    """Its former holder may remove the file between the opening and the locking."""
    flock, removed = fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with storage.locked(tmp_path), pytest.raises(UserError, match="another run"), storage.locked(tmp_path):
        pass
    assert removed


def test_what_a_killed_writer_left_is_gone_when_the_next_one_has_the_folder(tmp_path):
    script = (
        "import os, sys; from must_tf.storage import replacing\n"
        "with replacing(sys.argv[1]) as t: t.touch(); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "whole")], check=False)
    assert killed.returncode == 9 and len(list(tmp_path.iterdir())) == 1
    with storage.locked(tmp_path):
        storage.write_bytes(tmp_path / "whole", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_folder_is_free_once_its_holder_was_killed(tmp_path):
    script = (
        "import sys, time; from must_tf.storage import locked\n"
        "with locked(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "new")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run"), storage.locked(tmp_path / "new"):
            pass
        holder.kill()
    with storage.locked(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def test_full_disk_says_which_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        storage.write_bytes(tmp_path / "a.json", b"1")
    assert error.value.filename == str(tmp_path / "a.json") and list(tmp_path.iterdir()) == []


def test_file_that_may_not_grow_is_named_and_nothing_of_it_stays(tmp_path):
    script = (
        "import resource, sys; from must_tf.storage import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(sys.argv[1], bytes(10_000))\n"
        "except OSError as error: print(error.filename)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "large")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == f"{tmp_path / 'large'}\n"
    assert list(tmp_path.iterdir()) == []


def test_url_is_refused_and_no_folder_of_its_name_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="gs:/b/x: is not a local path"), storage.locked(Path("gs://b/x")):
        pass
    with pytest.raises(UserError, match="--out=s3://b/x: is not a local path"):
        storage.local("s3://b/x", "out")
    with pytest.raises(UserError, match="is not a local path"):
        storage.write_json("ftp://x.json", {})
    assert not list(tmp_path.iterdir()) and storage.local("a/b:c") == Path("a/b:c")
