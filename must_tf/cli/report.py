"""Writes one HTML page that opens offline: tables, curves, pictures. It also writes the tables as plain text."""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_DATASETS = flags.DEFINE_list("datasets", [], "Folders of records to count and draw.", flag_values=FLAGS)
_WORKDIRS = flags.DEFINE_list("workdirs", [], "Folders of runs whose curves to draw.", flag_values=FLAGS)
_STUDENT = flags.DEFINE_string(
    "student", None, "Folder of a finished run whose predictions to draw.", flag_values=FLAGS
)
_TRANSFER = flags.DEFINE_list("transfer", [], "JSONs of transfer tables, or folders of them.", flag_values=FLAGS)
_CURVES = flags.DEFINE_list("curves", [], "JSONs of scores against a quantity, or folders of them.", flag_values=FLAGS)
_TEXT = flags.DEFINE_string(
    "text",
    None,
    "Markdown file for the tables and the curves as plain text; of one that exists only what stands between the lines "
    "<!-- tables --> and <!-- /tables --> is replaced.",
    flag_values=FLAGS,
)
_TITLE = flags.DEFINE_string("title", "Multi-Task Self-Training", "Of the page.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "report.html", "The page.", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must report`."""
    app.run("must report", __doc__, FLAGS, main, argv)


def main() -> None:
    """Writes the page."""
    from must_tf.report import report

    report(
        _OUT.value,
        _DATASETS.value,
        _WORKDIRS.value,
        _STUDENT.value,
        _TRANSFER.value,
        _TITLE.value,
        _CURVES.value,
        _TEXT.value,
    )
    print(f"{_OUT.value}: the page")
    if _TEXT.value:
        print(f"{_TEXT.value}: the tables")
