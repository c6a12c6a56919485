import errno
import sys

import pytest
import toy

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.runners import Beam
from must_tf.labeling.runners.beam import _USER_ERROR
from must_tf.labeling.shard import Job
from must_tf.records import Plan


def test_beam_writes_the_same_bytes_as_one_process(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=Beam())
    assert toy.files(tmp_path / "out") == local


def test_missing_beam_is_an_error_with_the_package_to_install(folder, teachers, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"must_tf\[beam\]"):
        label(folder, teachers, tmp_path / "out", 2, 2, runner=Beam())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--runner=FlinkRuner", "Unexpected pipeline runner: FlinkRuner"),
        ("--direct_num_workers=many", "invalid int value: 'many'"),
        ("--runner=DataflowRunner", "project"),
    ],
)
def test_options_that_beam_rejects_are_an_error_of_one_line(option, message):
    with pytest.raises(UserError, match=f"--beam_options: .*{message}") as error:
        Beam.of([option])
    assert "\n" not in str(error.value)


class Refuser:
    """Reads a shard and raises an error that a user can correct."""

    def __call__(self, look):
        raise UserError("shard: something is wrong; correct it")


def test_user_error_of_a_beam_worker_is_raised_as_one_line(tmp_path, capfd):
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    with pytest.raises(UserError, match=r"^shard: something is wrong; correct it$"):
        list(Beam()([Job(plan, 0, Refuser(), (), 2)]))
    assert "Traceback" not in capfd.readouterr().err


class Full:
    """Reads a shard and finds the disk full."""

    def __call__(self, look):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/shard")


def test_full_disk_of_a_beam_worker_is_an_error_of_one_line(tmp_path):
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    with pytest.raises(UserError, match=r"^--runner=beam: No space left on device: '/data/shard'; make room"):
        list(Beam()([Job(plan, 0, Full(), (), 2)]))


def test_last_user_error_in_a_runners_traceback_is_found():
    text = (
        'RuntimeError: Traceback (most recent call last):\n  raise UserError("shard: x")\n'
        "must_tf.errors.UserError: shard: x\n\nDuring handling\n"
        "must_tf.errors.UserError: shard: bad; correct it [while running 'Map(run_job)']\n\n"
    )
    assert _USER_ERROR.findall(text)[-1] == "shard: bad; correct it"
