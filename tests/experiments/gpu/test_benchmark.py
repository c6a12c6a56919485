import json
from pathlib import Path

import pytest

from must_tf.experiments.gpu import benchmark
from must_tf.trunk import Trunk


@pytest.mark.slow
@pytest.mark.parametrize("xla", [False, True])
def test_what_a_step_takes_is_measured_on_the_device_that_is_there(monkeypatch, tmp_path, capsys, xla):
    monkeypatch.setattr(benchmark, "_IMAGES", 4)
    trunk = Trunk("resnet-10", width=0.25, min_level=2, max_level=5, num_filters=16)
    out = tmp_path / "gpu.json"
    benchmark.main(str(out), [benchmark.experiment(trunk, 64, 2, "float32", xla)], 2, 2)
    (found,) = json.loads(out.read_text())
    assert found["xla"] == xla and "CPU cores" in found["device"]
    assert found["images_per_second"] > 0 and found["memory_gib"] > 0 and found["planned_gib"] > 0
    assert 0 < found["share_of_peak"] < 1 and 0 <= found["data_wait"] < 1
    assert capsys.readouterr().out.startswith("resnet-10 at 64 pixels, batch 2, float32")


def test_the_process_that_draws_photographs_leaves_the_memory_of_gpus_to_those_that_measure(monkeypatch, tmp_path):
    called = []
    for name in ("share_gpus", "photographs"):
        monkeypatch.setattr(benchmark, name, lambda *_, name=name: called.append(name))
    benchmark.main(str(tmp_path / "gpu.json"), [], 1, 1)
    assert called == ["share_gpus", "photographs"]


def test_published_memory_is_that_of_the_published_measurements():
    folder = Path(benchmark.__file__).parent
    found = json.loads((folder / "results" / "memory.json").read_text())
    assert f"<!-- memory -->\n```text\n{benchmark.memory(found)}\n```" in (folder / "RESULTS.md").read_text()
