import json
import shutil
import subprocess
import sys

import pytest

from must_tf.errors import UserError
from must_tf.experiments.labeling import cluster_benchmark


def test_ratios_are_those_of_turns_and_not_of_medians():
    turns = [{"bucket": 9.0, "disk": 10.0, "server": 0.5}, {"bucket": 1.0, "disk": 2.0, "server": 0.1}]
    made = {"cores": 2, "bucket": {"ResNet50": {"turns": [*turns, {"bucket": 8.0, "disk": 10.0, "server": 0.3}]}}}
    made["train"] = {"disk": [{"data_wait": 0.01, "images_per_second": 30.0}]}
    assert cluster_benchmark.text(made) == (
        "ResNet50: bucket 8.0 images/s, disk 10.0 images/s: ratio 0.80 (goal: at least 0.9); "
        "the server took 0.30 of 2 cores\n"
        "train, disk: waits 1.0% of the time (goal: below 5%), 30 images/s"
    )


def test_scaling_counts_from_when_all_workers_have_begun():
    noted = cluster_benchmark.Noting(None, 2)
    noted.finished = [(9.0, 5), (10.0, 5), (12.0, 5), (14.0, 3)]
    assert noted.rate() == 8 / 4
    turn = {"two": 3.0, "two, begun": 9.0, "one": 2.0, "one, begun": 5.0}
    assert cluster_benchmark.text({"nodes": {"images": 18, "turns": [turn]}}) == (
        "nodes: 18 images: two, begun 9.0 images/s, one, begun 5.0 images/s: ratio 1.80 (goal: at least 1.8)\n"
        "nodes: 18 images: two 3.0 images/s, one 2.0 images/s: ratio 1.50"
    )


def test_unknown_part_is_refused(capsys):
    with pytest.raises((SystemExit, UserError)):
        cluster_benchmark.run(["--parts=speed"])
    assert "--parts: speed received; expected some of ray, nodes, bucket, train" in capsys.readouterr().err


@pytest.mark.parametrize(("sizes", "share"), [([8] * 64, 0.5), ([1] * 10, 1.0), ([1] * 20 + [4] * 20, 0.68)])
def test_a_small_cache_is_one_of_half_the_records_if_these_have_shards_enough(sizes, share):
    """The largest ones may be read at the same time."""
    assert cluster_benchmark.small_cache(sizes) == share


def test_server_that_does_not_start_is_one_line_at_once(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # and back afterwards
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match="the S3 server does not start"), cluster_benchmark._s3():
        pass


@pytest.mark.slow
@pytest.mark.parametrize("part", cluster_benchmark.PARTS)
def test_each_part_is_measured_at_a_tiny_scale(part, tmp_path):
    """In a process of its own: it sets the variables of the store, and starts clusters."""
    if part in ("ray", "nodes"):
        pytest.importorskip("ray", reason="needs the extra ray")
    sizes = ("--count=40", "--photos=40", "--steps=4", "--rounds=1", "--models=small")
    argv = [sys.executable, "-m", "must_tf.experiments.labeling.cluster_benchmark", *sizes]
    subprocess.run([*argv, f"--parts={part}", f"--out={tmp_path / 'out.json'}"], check=True)
    results = json.loads((tmp_path / "out.json").read_text())
    assert set(results) == {"cores", part} and cluster_benchmark.text(results)
