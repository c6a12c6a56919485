import contextlib
import re
import signal
import subprocess
import sys
import time
import types
import uuid

import numpy as np
import pytest
import tf_keras
import toy
from PIL import Image

from must_tf import buckets, storage
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.runners import Ray, make_runner
from must_tf.labeling.runners import ray as of_ray
from must_tf.labeling.shard import Job
from must_tf.records import Plan, pending

pytest.importorskip("ray", reason="needs the extra ray")
import ray_cluster


def test_ray_writes_the_same_bytes_as_one_process(folder, teachers, local, tmp_path, capfd):
    with ray_cluster.nodes(1) as nodes:
        capfd.readouterr()
        label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=Ray(nodes.address))
        said = capfd.readouterr()
    assert toy.files(tmp_path / "out") == local
    assert not said.out and all(line.startswith("label") for line in said.err.splitlines()), said.err


# Mistakes, each one line


def test_missing_ray_is_an_error_with_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--runner=ray: Ray is not installed; pip install 'must_tf\[ray\]'"):
        make_runner("ray")


@pytest.mark.parametrize("address", ["ray://host:10001", "http://host:8265", "host", "local"])
def test_address_of_another_kind_is_refused(address, monkeypatch):
    said = f"--ray_address: '{address}' received, expected HOST:PORT"
    with pytest.raises(UserError, match=said):
        make_runner("ray", ray_address=address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=said):
        make_runner("ray")


def test_address_where_nothing_answers_is_one_line(monkeypatch):
    monkeypatch.setattr(of_ray, "_ANSWERS", 0.2)
    with pytest.raises(UserError, match=r"--ray_address=localhost:9: no cluster of Ray answers there; give"):
        make_runner("ray", ray_address="localhost:9")


def test_machine_that_is_part_of_no_cluster_is_told_how_to_become_one(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    runner = make_runner("ray")
    with pytest.raises(UserError, match=r"--ray_address=auto: Could not find any .*\(ray start --head\)$"):
        list(runner([Job(Plan(tmp_path, "labeled", "train", (), 1, {}), 0, ray_cluster.no_entries, (), 2)]))


# The driver


def test_driver_counts_gpus_or_nodes():
    def crew(processes, *resources):
        nodes = [{"Alive": bool(one), "Resources": one} for one in resources]
        made = types.SimpleNamespace(processes=processes, looked=-9.0, idle=1e9, busy={}, _labeling=list)
        made.ray = types.SimpleNamespace(nodes=lambda: nodes)
        of_ray._Crew._look(made)
        return made.wanted, made.num_gpus

    cpu, gpus = {"CPU": 16.0}, {"CPU": 16.0, "GPU": 4.0}
    assert crew(0, {"CPU": 0.0}, cpu, cpu, {}) == (2, 0)
    assert crew(5, cpu, cpu) == (5, 0)
    assert crew(0, cpu, gpus, gpus) == (8, 1)
    assert crew(2, cpu, gpus) == (2, 1)
    assert crew(6, cpu, gpus) == (6, 0.5)


def test_an_error_on_a_node_is_raised_as_it_was_there():
    import ray

    cause = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "of a record")

    def get(_):
        raise ray.exceptions.RayTaskError("label", "Traceback:\n  at line 7 of the node", cause).as_instanceof_cause()

    crew = types.SimpleNamespace(ray=types.SimpleNamespace(get=get, exceptions=ray.exceptions))
    with pytest.raises(UnicodeDecodeError) as error:
        list(of_ray._Crew._returned(crew, None, None))
    assert error.value is cause and "line 7 of the node" in str(error.value.__cause__)


# On several raylets


@pytest.fixture
def bucket(proxied, monkeypatch):
    """A new folder in a bucket whose server takes its time; the secret key is a word that occurs nowhere else."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hushhush4711")
    buckets._store.cache_clear()
    return Remote(f"s3://tests/{uuid.uuid4().hex}")


SHARDS, PER_SHARD = 12, 4


@pytest.fixture
def command(bucket, tmp_path):
    """The command that labels images of a bucket by a model and a card that lie there, without --out."""
    rng = np.random.default_rng(0)
    for number in range(SHARDS * PER_SHARD):
        Image.fromarray(toy.random_image(rng, *toy.SIZES[number % 5])).save(tmp_path / "image.png")
        storage.write_bytes(bucket / f"photos/{number:03d}.png", (tmp_path / "image.png").read_bytes())
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((64, 64, 3))
    pooled = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(8, 3)(inputs))
    tf_keras.Model(inputs, tf_keras.layers.Dense(3, "softmax")(pooled)).save(tmp_path / "model.keras")
    card = {"task": "classification", "activation": "probabilities", "range": [-1, 1], "resize": "fit"}
    storage.write_bytes(bucket / "model.keras", (tmp_path / "model.keras").read_bytes())
    storage.write_json(bucket / "model.keras.card.json", card | {"class_names": ["a", "b", "c"]})
    return [
        *(sys.executable, "-m", "must_tf.cli", "label", f"--images={bucket}/photos", f"--images_per_shard={PER_SHARD}"),
        *(f"--teachers=scene=keras:{bucket}/model.keras", "--batch_size=2"),
    ]


@pytest.fixture
def whole(command, bucket):
    """What one process writes."""
    subprocess.run([*command, f"--out={bucket}/whole"], check=True)
    return contents(bucket / "whole")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in folder.files()}


def shards(out):
    return {name for name in out.files() if name.startswith("labeled-train.tfrecord")}


@contextlib.contextmanager
def running(argv, tmp_path):
    """Yields a command that runs in an empty folder, and the file of what it says; kills it at the end."""
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    with open(tmp_path / "said", "w+") as said:
        process = subprocess.Popen(argv, cwd=tmp_path / "elsewhere", stdout=said, stderr=said)
        try:
            yield process, tmp_path / "said"
        finally:
            process.kill()
            process.wait()


def until(holds, process):
    while not holds():
        assert process.poll() is None
        time.sleep(0.05)


def put(proxy, out):
    """Returns how often each shard was put into a bucket."""
    names = [line.rpartition("/")[2] for line in proxy.seen if line.startswith("PUT") and f"{out.name}/labeled" in line]
    return {name: names.count(name) for name in names}


@pytest.mark.slow
def test_node_killed_in_the_middle_costs_its_shards_alone(command, whole, bucket, proxied, tmp_path):
    out = bucket / "out"
    with ray_cluster.nodes(0) as nodes:
        made = [nodes.add(MUST_TF_CACHE=str(tmp_path / f"cache-{number}")) for number in range(3)]
        argv = [*command, f"--out={out}", "--runner=ray", f"--ray_address={nodes.address}"]
        with proxied.answering(always="slow"), running(argv, tmp_path) as (process, said):
            until(lambda: len(shards(out)) >= 3 and nodes.is_labeling(made[0]), process)
            nodes.kill(made[0])
            assert process.wait() == 0, said.read_text()
            seen = list(proxied.seen)
        logs = [path.read_bytes() for path in nodes.logs.rglob("*") if path.is_file()]
        text = said.read_text()
    assert contents(out) == whole
    again = re.findall(r"label: node \S+ \(\S+\): a worker was lost; shard (\d+) is labeled again", text)
    assert len(again) == 1
    lines = [line for line in text.splitlines() if not line.startswith(("label", str(out), "  "))]
    assert not lines, text
    times = [sum(line.startswith(f"GET /tests/{bucket.name}/photos/{n:03d}") for line in seen) for n in range(48)]
    first = range(PER_SHARD)  # of the shard at which nodes are inspected
    lost = range(int(again[0]) * PER_SHARD, (int(again[0]) + 1) * PER_SHARD)
    assert all(times[n] == 1 for n in range(48) if n not in (*first, *lost)), times
    everything = [*logs, text.encode(), *contents(out).values()]
    assert len(logs) > 10 and not any(b"hushhush4711" in content for content in everything)


@pytest.mark.slow
def test_driver_killed_and_repeated_writes_the_same_bytes(command, whole, bucket, proxied, tmp_path):
    """It waits for a minute, because the lock of the killed one stays."""
    out = bucket / "out"
    with ray_cluster.nodes(2) as nodes:
        argv = [*command, f"--out={out}", "--runner=ray", f"--ray_address={nodes.address}"]
        with proxied.answering(always="slow"), running(argv, tmp_path) as (process, _):
            until(lambda: len(shards(out)) >= 3, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(5)  # a worker may end its shard before Ray ends it
        before = shards(out)
        assert 3 <= len(before) < SHARDS
        with proxied.answering(), running(argv, tmp_path) as (process, said):
            assert process.wait() == 0, said.read_text()
            assert not any(name in line for line in proxied.seen for name in before if line.startswith("PUT"))
    assert contents(out) == whole


@pytest.mark.slow
def test_shard_that_ends_its_workers_and_nodes_of_other_code_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Ray lets workers import from the driver's folder before all else
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    pending(plan)
    other, without = tmp_path / "other", tmp_path / "without"
    (other / "must_tf").mkdir(parents=True)
    (other / "must_tf" / "__init__.py").write_text('__version__ = "0.0.9"\n')
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['must_tf'] = None\n")
    said = []
    with ray_cluster.nodes(0) as nodes:
        for path, words in ((other, "must_tf 0.0.9 with code"), (without, "no must_tf")):
            node = nodes.add(PYTHONPATH=str(path))
            with pytest.raises(UserError, match=rf"^node \S+ \(\S+\): has {words}.*, the driver must_tf 0.1.0"):
                list(Ray(nodes.address)([Job(plan, 0, ray_cluster.no_entries, (), 2)]))
            nodes.remove(node)
        node = nodes.add()
        with pytest.raises(
            UserError, match=r"at shard 0 a worker was lost, as were 2 before it; if memory is short there"
        ) as error:
            list(Ray(nodes.address)([Job(plan, 0, ray_cluster.killer, (), 2)], said.append))
    assert "\n" not in str(error.value)
    lost = [line for line in said if "no worker is ready yet" not in line]  # as a busy machine is told
    assert len(lost) == 2 and all("a worker was lost; shard 0 is labeled again" in line for line in lost)
