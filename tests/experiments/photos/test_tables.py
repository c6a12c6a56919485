"""The published tables and their text are made of the published cells, and of nothing else."""

import shutil
from pathlib import Path

from must_tf.experiments.photos import tables
from must_tf.report import report


def test_what_is_published_is_what_the_published_cells_say(tmp_path):
    published = Path(tables.__file__).parent
    results, text = tmp_path / "results", tmp_path / "TABLES.md"
    shutil.copytree(published / "results" / "datasets", results)
    kept = {path.name: path.read_bytes() for path in (results / "tables").iterdir()}
    made = {path.name: path.read_bytes() for path in tables.make(results)}
    assert kept and kept == {name: made[name] for name in kept}
    folder = published / "results" / "datasets" / "tables"
    report(tmp_path / "report.html", transfer=[folder], text=text, title="MuST on photographs")
    assert text.read_text() == (published / "TABLES.md").read_text()
