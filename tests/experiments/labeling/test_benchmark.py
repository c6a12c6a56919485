import json
import re
from pathlib import Path

import pytest

import must_tf.experiments.labeling
from must_tf.experiments.labeling import (
    benchmark,
    cluster_benchmark,
    convert_benchmark,
    features,
    hf_benchmark,
    measure,
    scale_benchmark,
)

FOLDER = Path(must_tf.experiments.labeling.__file__).parent
MADE = {
    "benchmark.json": benchmark.BENCHMARK,
    **{f"cluster_{part}.json": cluster_benchmark for part in ("ray", "bucket", "train")},
    "convert_benchmark.json": convert_benchmark,
    "features.json": features,
    "features_speed.json": features,
    "hf_benchmark.json": hf_benchmark.BENCHMARK,
    "scale_benchmark.json": scale_benchmark,
}


@pytest.mark.parametrize("name", MADE)
def test_published_figures_are_made_from_the_published_json(name):
    results = json.loads((FOLDER / "results" / name).read_text())
    assert f"```text\n{MADE[name].text(results)}\n```" in (FOLDER / "RESULTS.md").read_text()


def test_prose_of_the_results_has_no_measured_figures():
    prose = re.sub(r"```.*?```", "", (FOLDER / "RESULTS.md").read_text(), flags=re.DOTALL)
    assert not re.search(r"\d (images/s|ms|GB)|\d\.\d", prose)


def test_peak_labels_images_with_a_saved_model_and_returns_gigabytes():
    assert 0.1 < measure.peak(benchmark.small, 3) < 20


def test_peak_of_a_model_of_hugging_face():
    pytest.importorskip("transformers", reason="needs the extra hf")
    assert 0.1 < measure.peak(hf_benchmark.small, 3) < 20


def test_photographs_are_distinct(tmp_path):
    measure.photographs(tmp_path / "photos", 4)
    assert len({path.read_bytes() for path in (tmp_path / "photos").iterdir()}) == 4
