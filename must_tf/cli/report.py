"""Writes one HTML page that opens offline: tables, curves, pictures."""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_DATASETS = flags.DEFINE_list("datasets", [], "Folders of records to count and draw.", flag_values=FLAGS)
_WORKDIRS = flags.DEFINE_list("workdirs", [], "Runs whose curves to draw.", flag_values=FLAGS)
_STUDENT = flags.DEFINE_string("student", None, "Workdir whose predictions to draw.", flag_values=FLAGS)
_TRANSFER = flags.DEFINE_string("transfer", None, "JSON of a transfer table.", flag_values=FLAGS)
_TITLE = flags.DEFINE_string("title", "Multi-Task Self-Training", "Of the page.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "report.html", "The page.", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must report`."""
    app.run("report", __doc__, FLAGS, main, argv)


def main() -> None:
    """Writes the page."""
    from must_tf.report import report

    report(_OUT.value, _DATASETS.value, _WORKDIRS.value, _STUDENT.value, _TRANSFER.value, _TITLE.value)
    print(f"{_OUT.value}: the page")
