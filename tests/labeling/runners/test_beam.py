import errno
import functools
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import toy

import must_tf
from must_tf import storage
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.runners import Beam, beam
from must_tf.labeling.runners.beam import _USER_ERROR
from must_tf.labeling.shard import Job
from must_tf.records import Plan, pending
from must_tf.runtime.installed import installed_code
from must_tf.saving import WEIGHTS

HOST = re.escape(socket.gethostname())


def test_beam_writes_the_same_bytes_as_one_process(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=Beam())
    assert toy.files(tmp_path / "out") == local


def test_threads_of_a_worker_load_the_teachers_once(monkeypatch):
    seen = []

    def inspected(example):
        time.sleep(0.05)  # as loading does
        seen.append(example)
        return ""

    monkeypatch.setattr(beam, "inspected", inspected)
    monkeypatch.setattr(beam, "labeled", lambda job: job)
    beam._inspect.cache_clear()
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda job: beam._labeled(job, installed_code(), b"an example"), range(3))) == [0, 1, 2]
    assert seen == [b"an example"]


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
        ("--environment_config='python", "No closing quotation in"),
    ],
)
def test_options_that_beam_rejects_are_an_error_of_one_line(option, message):
    with pytest.raises(UserError, match=f"--beam_options: .*{message}") as error:
        Beam.of([option])
    assert "\n" not in str(error.value)


@pytest.fixture
def plan(tmp_path):
    """The plan of a run that has begun, without teachers."""
    made = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    pending(made)
    return made


def refuser(look=None):
    """Reads a shard of no images, and raises an error that a user can correct where it is labeled."""
    if look:
        raise UserError("shard: something is wrong; correct it")
    return iter(())


def test_user_error_of_a_beam_worker_is_raised_as_one_line(plan, capfd):
    with pytest.raises(UserError, match=rf"^worker {HOST}: shard: something is wrong; correct it$"):
        list(Beam()([Job(plan, 0, refuser, (), 2)]))
    assert "Traceback" not in capfd.readouterr().err


def full(look=None):
    """Reads a shard of no images, and finds the disk full where it is labeled."""
    if look:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/shard")
    return iter(())


def test_full_disk_of_a_beam_worker_is_an_error_of_one_line(plan):
    said = rf"^worker {HOST}: /data/shard: No space left on device; mend it there, and the same command continues$"
    with pytest.raises(UserError, match=said):
        list(Beam()([Job(plan, 0, full, (), 2)]))


def replacer(run, other, look=None):
    """Reads a shard of no images; a worker finds another run where the driver had this one, or none."""
    shutil.rmtree(run, ignore_errors=True)
    if other:
        shutil.copytree(other, run)
    return iter(())


@pytest.mark.parametrize("gone", [False, True])
def test_beam_worker_with_another_file_of_a_teacher_or_none_is_one_line(plan, toy_run, classifier_run, tmp_path, gone):
    """Both SHA-256 are told, and the teacher, the file and the worker."""
    run = shutil.copytree(classifier_run, tmp_path / "run")
    teacher, where = toy.load("scene", f"student:{run}"), f"student:{run}"
    both = [f'"{storage.sha256(one / WEIGHTS)}"' for one in (classifier_run, toy_run)]
    words = f"teacher scene={where}: is another one than the driver's (sha256: {', now '.join(both)} there); each node"
    read = functools.partial(replacer, run, None if gone else toy_run)
    with pytest.raises(UserError) as error:
        list(Beam()([Job(plan, 0, read, (teacher,), 2)]))
    said = f"{where}: no such folder; each node needs the same files" if gone else words
    assert str(error.value).startswith(f"worker {socket.gethostname()}: {said}") and "\n" not in str(error.value)
    assert not list(plan.folder.glob("*.tfrecord*"))


@pytest.fixture
def job_server(tmp_path):
    """Returns the address of a server of portable jobs, a process of its own, as Flink and Spark have one."""
    port = tmp_path / "port"
    argv = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port_file", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        while not port.exists():
            assert server.poll() is None
            time.sleep(0.1)
        yield f"localhost:{port.read_text()}"
        server.kill()


@pytest.mark.slow
def test_portable_runner_and_its_workers_write_the_same_bytes(folder, teachers, local, job_server, tmp_path):
    """Server and workers are processes of their own."""
    worker = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    options = f"--runner=PortableRunner --job_endpoint={job_server} --environment_config='{worker}'"
    runner = Beam([options, "--environment_type=beam:env:harness_subprocess_python:v1"])
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=runner)
    assert toy.files(tmp_path / "out") == local


@pytest.mark.slow
def test_beam_worker_of_other_code_is_one_line(plan, tmp_path, monkeypatch):
    """Workers are processes of their own here."""
    other, without = tmp_path / "other", tmp_path / "without"
    shutil.copytree(must_tf.__path__[0], other / "must_tf")
    (other / "must_tf" / "ranges.py").open("a").write("# another version\n")
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['must_tf'] = None\n")
    said = {
        other: rf"^worker {HOST}: has must_tf \S+ with code \w+, the driver must_tf .*; install the same there$",
        without: "^--runner=beam: a worker lacks what the driver has .*must_tf.*; install the same packages there$",
    }
    monkeypatch.chdir(tmp_path)  # workers would import from the driver's folder before all else
    for path, words in said.items():
        monkeypatch.setenv("PYTHONPATH", str(path))
        with pytest.raises(UserError, match=words):
            list(Beam(["--direct_running_mode=multi_processing"])([Job(plan, 0, refuser, (), 2)]))


def test_last_user_error_in_a_runners_traceback_is_found():
    text = (
        'RuntimeError: Traceback (most recent call last):\n  raise UserError("shard: x")\n'
        "must_tf.errors.UserError: shard: x\n\nDuring handling\n"
        "must_tf.errors.UserError: shard: bad; correct it [while running 'Map(run_job)']\n\n"
    )
    assert _USER_ERROR.findall(text)[-1] == "shard: bad; correct it"
