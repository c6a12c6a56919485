import json
from pathlib import Path

import pytest

from must_tf.experiments import timing
from must_tf.experiments.driving import latency
from must_tf.trunk import Trunk


def test_published_ratios_are_made_from_the_published_json():
    folder = Path(latency.__file__).parent
    results = json.loads((folder / "results/latency.json").read_text())
    assert f"<!-- latency -->\n```text\n{latency.text(results)}\n```" in (folder / "RESULTS.md").read_text()


def test_joint_is_compared_with_the_sum_of_the_others_round_by_round(monkeypatch):
    seconds = iter([9, 9, 9, 2, 1, 3, 3, 2, 2, 8, 1, 1])  # the first round does not count
    monkeypatch.setattr(timing, "seconds", lambda run: next(seconds))
    found = latency._compared(dict.fromkeys(("joint", "a", "b"), len), None, 3)
    assert found == {"ratio": 0.75, "ms": {"joint": 3000, "a": 1000, "b": 2000}}


@pytest.mark.slow
def test_students_of_three_tasks_are_written_and_timed():
    found = latency.measure(Trunk("resnet-10", 0.25, num_filters=16), (64, 96), 2)
    for name in ("onnx", "int8"):
        assert set(found[name]["ms"]) == {"joint", "vehicles", "drivable", "lanes"} and 0 < found[name]["ratio"] < 5
    assert "joint" in latency.text(found)
