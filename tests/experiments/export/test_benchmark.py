import json
from pathlib import Path

import pytest

from must_tf.experiments.export import benchmark

FOLDER = Path(benchmark.__file__).parent


def test_published_figures_are_those_of_the_published_json():
    found = json.loads((FOLDER / "results" / "benchmark.json").read_text())
    assert f"```text\n{benchmark.text(found)}\n```" in (FOLDER / "RESULTS.md").read_text()


@pytest.mark.slow
def test_the_benchmark_prints_and_writes_ratios_and_says_what_it_left_out(tmp_path, capsys):
    out = tmp_path / "benchmark.json"
    benchmark.main(str(out), "resnet-10", 64, 2)
    found, said = json.loads(out.read_text()), capsys.readouterr().out
    for name in ("onnx_over_savedmodel", "int8_over_float32"):
        assert 0 < found[name]["ratio"] < 100
    assert set(found["first"]) >= {"savedmodel/backbone", "onnx/backbone.onnx", "litert/backbone.int8.tflite"}
    assert "ratio" in found["ours_over_torch"] or "torch is not installed" in said
