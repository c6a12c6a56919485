"""Benchmark of buckets and clusters: python -m must_tf.experiments.labeling.cluster_benchmark [--out=FILE].

What is compared takes turns in one run; a ratio is the median over the turns. `--parts` names what is measured:

    ray      `must label --runner=ray` beside `--processes`: small images, as many workers, with their start
    nodes    two nodes of Ray beside one, each with one core of this machine: images/s once all workers have finished a
             shard; with their start, too, which does not become shorter by more nodes
    bucket   `must label` from and to a bucket of an S3 server on the loopback, beside the disk: photographs
    train    the share of time that `must train` waits for data, of about its last minute: records on the disk, in the
             bucket, and in the bucket with a cache for half of them, so that each epoch fetches them again

The S3 server, moto, is written in Python and runs on the same cores: its share of them is given, too.
"""

import contextlib
import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
import tf_keras
from absl import flags
from PIL import Image

from must_tf import storage
from must_tf.cli import app
from must_tf.errors import UserError
from must_tf.experiments.labeling.benchmark import save, small
from must_tf.experiments.labeling.measure import BATCH, MIN_ROUNDS, photographs
from must_tf.labeling import label
from must_tf.labeling.runners import Processes, Ray
from must_tf.labeling.runners.runner import Finished, Runner, Say
from must_tf.labeling.shard import Job
from must_tf.records import open_dataset
from must_tf.teachers import Teacher
from must_tf.training import Experiment, Optimizer
from must_tf.trunk import Trunk
from must_tf.verbs import train

PARTS = ("ray", "nodes", "bucket", "train")
FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "cluster_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_PARTS = flags.DEFINE_list("parts", list(PARTS), f"What is measured, of {', '.join(PARTS)}.", flag_values=FLAGS)
_COUNT = flags.DEFINE_integer("count", 10_000, "Number of small images.", 1, flag_values=FLAGS)
_PHOTOS = flags.DEFINE_integer("photos", 512, "Number of photographs.", 1, flag_values=FLAGS)
_STEPS = flags.DEFINE_integer("steps", 400, "Steps of each training.", 2, flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", MIN_ROUNDS, "Turns of each.", 1, flag_values=FLAGS)
_MODELS = flags.DEFINE_list(
    "models", ["MobileNetV2", "ResNet50"], "Models for `bucket`: of tf_keras.applications, or small.", flag_values=FLAGS
)
_WORKERS = 2
_PER_SHARD = 32  # photographs
_SHARDS = 20  # of small images on nodes
_BEGUN = ", begun"
_OPEN = 16  # shards that a training reads at the same time, and that its cache must hold

Run = Callable[[], Any]


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.labeling.cluster_benchmark", __doc__, FLAGS, main, argv)


def main() -> None:
    """Measures, prints the results and writes them as JSON."""
    if unknown := set(_PARTS.value) - set(PARTS):
        raise UserError(f"--parts: {', '.join(sorted(unknown))} received; expected some of {', '.join(PARTS)}")
    measures = {
        "ray": functools.partial(by_ray, _COUNT.value, _ROUNDS.value),
        "nodes": functools.partial(by_nodes, _COUNT.value, _ROUNDS.value),
        "bucket": functools.partial(by_bucket, _MODELS.value, _PHOTOS.value, _ROUNDS.value),
        "train": functools.partial(by_training, _PHOTOS.value, _STEPS.value, _ROUNDS.value),
    }
    results: dict[str, Any] = {"cores": os.cpu_count()}
    for name in (name for name in PARTS if name in _PARTS.value):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measures[name](Path(folder))
    print(text(results))
    storage.write_json(_OUT.value, results)
    print(f"{_OUT.value}: the same as JSON")


def text(results: Mapping[str, Any]) -> str:
    """Returns the results as text, of the parts that were measured."""
    lines = []
    pairs = (
        ("ray", "ray", "processes", 0.95),
        ("nodes", f"two{_BEGUN}", f"one{_BEGUN}", 1.8),
        ("nodes", "two", "one", 0),
    )
    for name, first, second, goal in pairs:
        if part := results.get(name):
            rates = ", ".join(f"{arm} {_median(part['turns'], arm):.1f} images/s" for arm in (first, second))
            found = f"ratio {_ratio(part['turns'], first, second):.2f}" + (f" (goal: at least {goal})" if goal else "")
            lines.append(f"{name}: {part['images']:,} images: {rates}: {found}")
    for model, part in results.get("bucket", {}).items():
        rates = ", ".join(f"{arm} {_median(part['turns'], arm):.1f} images/s" for arm in ("bucket", "disk"))
        ratio, server = _ratio(part["turns"], "bucket", "disk"), _median(part["turns"], "server")
        lines.append(
            f"{model}: {rates}: ratio {ratio:.2f} (goal: at least 0.9); the server took {server:.2f} of "
            f"{results['cores']} cores"
        )
    for arm, turns in results.get("train", {}).items():
        share, rate = (float(np.median([turn[name] for turn in turns])) for name in ("data_wait", "images_per_second"))
        lines.append(f"train, {arm}: waits {share:.1%} of the time (goal: below 5%), {rate:.0f} images/s")
    return "\n".join(lines)


def by_ray(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Compares the runners, with two workers each. The cluster is there before; workers start with each turn."""
    photos, teacher = small_images(folder / "photos", count), small(folder / "small")
    with _cluster([{"num_cpus": _WORKERS}]) as address:
        runners = {"ray": Ray(address, _WORKERS), "processes": Processes(_WORKERS)}
        arms = {name: functools.partial(_label, photos, teacher, folder, one, 500) for name, one in runners.items()}
        return {"images": count, "turns": turns(arms, count, rounds)}


def by_nodes(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Compares two nodes with one; the processes of each may use one core."""
    photos, teacher = small_images(folder / "photos", count), small(folder / "small")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise UserError(f"--parts=nodes: needs two cores, and this process may use {len(cores)}")
    per_shard = max(1, count // _SHARDS)
    with _cluster([{"num_cpus": 1, "core": core} for core in cores[:2]]) as address:
        arms = {
            name: functools.partial(_label, photos, teacher, folder, Noting(Ray(address, number), number), per_shard)
            for name, number in (("two", 2), ("one", 1))
        }
        return {"images": count, "turns": turns(arms, count, rounds)}


class Noting(Runner):
    """Labels by another runner, and notes when shards are finished.

    Args:
      runner: the other one.
      workers: how many it has.
    """

    title, options = "a benchmark", frozenset()

    def __init__(self, runner: Runner, workers: int):
        self.runner, self.workers = runner, workers
        self.finished: list[tuple[float, int]] = []  # time in seconds, and images, of each shard

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels as the other runner does."""
        self.finished = []
        for shard in self.runner(jobs, say):
            self.finished.append((time.monotonic(), shard.count))
            yield shard

    def rate(self) -> float:
        """Returns images/s from when as many shards were finished as there are workers, without their start."""
        (first, _), later = self.finished[self.workers - 1], self.finished[self.workers :]
        return sum(count for _, count in later) / (later[-1][0] - first)


def by_bucket(models: Sequence[str], count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Compares images and records in a bucket with those on the disk, for each model."""
    photographs(folder / "photos", count)
    found = {}
    with _s3() as server:
        bucket = storage.location("s3://benchmark")
        for path in (folder / "photos").iterdir():
            storage.write_bytes(bucket / "photos" / path.name, path.read_bytes())
        for name in models:
            teacher = small(folder / name) if name == "small" else save(_network(name), folder / name)
            arms = {
                "bucket": functools.partial(_label, f"{bucket}/photos", teacher, bucket, None, _PER_SHARD),
                "disk": functools.partial(_label, folder / "photos", teacher, folder, None, _PER_SHARD),
            }
            found[name] = {"turns": turns(arms, count, rounds, server)}
    return found


def by_training(count: int, steps: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Trains on records of the disk, of a bucket, and of a bucket with a small cache, alternately."""
    photographs(folder / "photos", count)
    per_shard = max(1, count // (4 * _OPEN))
    label(folder / "photos", [small(folder / "small")], folder / "records", BATCH, per_shard, allow_empty=True)
    sizes = open_dataset(folder / "records").manifest.shards.bytes.tolist()
    size, share = sum(sizes) / 1e9, small_cache(sizes)
    cached = {"disk": 0.0, "bucket": 2.0, f"bucket, {share:.0%} of it cached": share}
    found: dict[str, Any] = {name: [] for name in cached}
    with _s3():
        for turn, (number, name) in itertools.product(range(rounds), enumerate(cached)):
            records: storage.Location = folder / "records"
            if cached[name]:  # in a place of its own: this process holds copies of what it read from others
                records = storage.location(f"s3://benchmark/{turn}-{number}")
                for path in (folder / "records").iterdir():
                    storage.write_bytes(records / path.name, path.read_bytes())
            found[name].append(_trained(str(records), cached[name] * size, steps, folder / f"{turn}-{number}"))
    return found


def small_cache(sizes: Sequence[int]) -> float:
    """Returns the share of the records that a small cache holds: half, or more if more is read at the same time.

    Args:
      sizes: bytes of the shards.
    """
    return max(0.5, sum(sorted(sizes)[-_OPEN - 1 :]) / sum(sizes))


def turns(
    arms: Mapping[str, Run], count: int, rounds: int, server: psutil.Process | None = None
) -> list[dict[str, float]]:
    """Returns images/s of each arm in each turn.

    An arm may return its images/s without its start, which stand beside the others under the name with `_BEGUN`. The
    first arm's turn also says how many cores the server took.
    """
    for act in arms.values():
        act()  # the first calls are slower
    found = []
    for _ in range(rounds):
        turn = {}
        for name, act in arms.items():
            before, started = _processor(server), time.monotonic()
            begun = act()
            seconds = time.monotonic() - started
            turn[name] = count / seconds
            if begun is not None:
                turn[f"{name}{_BEGUN}"] = begun
            if server:
                turn.setdefault("server", (_processor(server) - before) / seconds)
        found.append(turn)
    return found


def small_images(folder: Path, count: int) -> Path:
    """Writes small random JPEGs of three sizes; returns their folder."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (48 + 16 * (i % 3), 64, 3), np.uint8)).save(folder / f"{i}.jpg")
    return folder


def _median(turns: Sequence[Mapping[str, float]], arm: str) -> float:
    return float(np.median([turn[arm] for turn in turns]))


def _ratio(turns: Sequence[Mapping[str, float]], first: str, second: str) -> float:
    return float(np.median([turn[first] / turn[second] for turn in turns]))


def _network(name: str) -> tf_keras.Model:
    return getattr(tf_keras.applications, name)(weights=None)


def _label(images: Any, teacher: Teacher, place: Any, runner: Runner | None, per_shard: int) -> float | None:
    """Labels into a new folder, which goes afterwards where it is on the disk; returns the rate that a runner notes."""
    out = place / uuid.uuid4().hex
    label(images, [teacher], out, BATCH, per_shard, runner=runner, allow_empty=True)
    if isinstance(out, Path):
        shutil.rmtree(out)
    return runner.rate() if isinstance(runner, Noting) else None


def _trained(records: str, cache_gb: float, steps: int, workdir: Path) -> dict[str, float]:
    """Trains, and returns what the run says at its end of about its last minute."""
    task = open_dataset(records).manifest.tasks[0]
    experiment = Experiment(
        tasks=(task,),
        train=(records,),
        steps=steps,
        batch_size=16,
        input_size=(128, 128),
        trunk=Trunk("resnet-18", 0.5),
        optimizer=Optimizer("sgd", 0.01, clip_norm=1.0),
        log_every=steps,
        checkpoint_every=steps,
    )
    train(experiment, workdir, cache_gb=cache_gb)
    events = max((workdir / "tensorboard").iterdir())
    values = [value for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value]
    return {
        value.tag: float(tf.make_ndarray(value.tensor))
        for value in values
        if value.tag in ("data_wait", "images_per_second")
    }


def _processor(process: psutil.Process | None) -> float:
    return sum(process.cpu_times()[:2]) if process else 0.0


@contextlib.contextmanager
def _s3() -> Iterator[psutil.Process]:
    """Runs an S3 server with a bucket `benchmark`, which `s3://` means in this process from now on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        try:
            _made_bucket(server, port)
            yield psutil.Process(server.pid)
        finally:
            server.kill()


def _made_bucket(server: subprocess.Popen, port: int) -> None:
    import s3fs

    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()  # s3fs tries for half a minute
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("benchmark")
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise UserError("--parts: the S3 server does not start; pip install 'moto[server]'")


@contextlib.contextmanager
def _cluster(nodes: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Runs a cluster of Ray on this machine, and yields its address; a node may be kept to a core."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    cores = os.sched_getaffinity(0)
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for node in nodes:
            core = node.pop("core", None)
            os.sched_setaffinity(0, cores if core is None else {core})  # its processes inherit it
            cluster.add_node(object_store_memory=80 << 20, **node)
        os.sched_setaffinity(0, cores)
        yield cluster.address
    finally:
        os.sched_setaffinity(0, cores)
        cluster.shutdown()


if __name__ == "__main__":
    run(sys.argv[1:])
