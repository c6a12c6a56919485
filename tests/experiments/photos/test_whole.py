import json
import subprocess
import sys

import pytest

from must_tf.experiments.photos.packages import PACKAGES
from must_tf.records import open_dataset, verify


@pytest.mark.slow
def test_whole_run_labels_evaluates_and_trains_with_the_packages_that_could_be_fetched(tmp_path):
    command = [sys.executable, "-m", "must_tf.experiments.photos.run", f"--out={tmp_path / 'photos'}", "--scale=0.01"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False)
    missing = [line for line in ended.stdout.splitlines() if line.startswith("photos: without")]
    if len(missing) == len(PACKAGES) or "no package with photographs" in ended.stderr:
        pytest.skip(missing[0])
    assert ended.returncode == 0, ended.stderr
    dataset = open_dataset(tmp_path / "photos" / "data" / "labeled")
    assert not verify(dataset).problems
    tasks = {task.name for task in dataset.manifest.tasks}
    assert {"depth", "normals"} <= tasks
    measured = json.loads((tmp_path / "photos" / "measured.json").read_text())["measured"]
    assert {"depth on rooms", "normals on rooms"} <= set(measured)
    if not missing:
        assert len(tasks) == 5 and dataset.manifest.count == 8
        assert {"classification", "detection", "segmentation", "depth"} <= set(measured)
        assert measured["classification"]["top1"] > 0.7
    assert (tmp_path / "photos" / "report.html").stat().st_size > 100_000
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0 and "[" not in again.stdout.partition("photos: models")[2].splitlines()[1]
