import json
import re
from pathlib import Path

import must_tf.experiments.labeling
from must_tf.experiments.labeling import benchmark

FOLDER = Path(must_tf.experiments.labeling.__file__).parent


def test_published_figures_are_made_from_the_published_json():
    results = json.loads((FOLDER / "results" / "benchmark.json").read_text())
    assert f"```text\n{benchmark.text(results)}\n```" in (FOLDER / "RESULTS.md").read_text()


def test_prose_of_the_results_has_no_measured_figures():
    prose = re.sub(r"```.*?```", "", (FOLDER / "RESULTS.md").read_text(), flags=re.DOTALL)
    assert not re.search(r"\d (images/s|ms|GB)|\d\.\d", prose)


def test_peak_labels_images_with_a_saved_model_and_returns_gigabytes():
    assert 0.1 < benchmark.peak(3) < 20


def test_photographs_are_distinct(tmp_path):
    benchmark.photographs(tmp_path / "photos", 4)
    assert len({path.read_bytes() for path in (tmp_path / "photos").iterdir()}) == 4
