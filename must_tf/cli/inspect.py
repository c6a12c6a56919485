"""Verifies a dataset to the last byte, prints what it holds, and writes a page with drawn labels.

Exit code 1 where something is wrong with the data.
"""

import sys
from pathlib import Path

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Folder of records.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "The page; DATA/report.html by default.", flag_values=FLAGS)
_PICTURES = flags.DEFINE_integer("pictures", 12, "Images to draw.", 0, flag_values=FLAGS)
flags.mark_flag_as_required("data", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must inspect`."""
    app.run("inspect", __doc__, FLAGS, main, argv)


def main() -> None:
    """Verifies, prints, draws."""
    from must_tf.records import open_dataset, verify
    from must_tf.report import dataset_report

    dataset = open_dataset(_DATA.value)
    findings = verify(dataset)
    print(f"{_DATA.value}: {findings.records} records in {len(dataset.manifest.shards)} shards")
    for task, origins in findings.labels.items():
        print(f"  {task}: " + (", ".join(f"{count} by {origin}" for origin, count in origins.items()) or "no label"))
    print(f"  quarantined: {len(dataset.manifest.quarantined)}")
    out = _OUT.value or Path(_DATA.value, "report.html")
    dataset_report(dataset, findings, out, _PICTURES.value)
    print(f"  page: {out}")
    for problem in findings.problems:
        print(f"must: problem: {problem}", file=sys.stderr)
    if findings.problems:
        sys.exit(1)
