"""Writes one HTML page that opens offline: tables, curves, pictures. It can also write the tables as plain text.

Each flag adds its part to the page; all of them are optional.

    must report --workdirs=runs/student --transfer=transfer/transfer.json --out=report.html
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_DATASETS = flags.DEFINE_list(
    "datasets", [], "Folders of records whose labels are counted and drawn, separated by commas.", flag_values=FLAGS
)
_WORKDIRS = flags.DEFINE_list(
    "workdirs", [], "Folders of runs whose curves are drawn, separated by commas.", flag_values=FLAGS
)
_STUDENT = flags.DEFINE_string(
    "student", None, "Folder of a finished run whose predictions are drawn.", flag_values=FLAGS
)
_TRANSFER = flags.DEFINE_list(
    "transfer", [], "JSON files of transfer tables, or folders of such files, separated by commas.", flag_values=FLAGS
)
_CURVES = flags.DEFINE_list(
    "curves",
    [],
    "JSON files of scores against a quantity, or folders of such files, separated by commas.",
    flag_values=FLAGS,
)
_TEXT = flags.DEFINE_string(
    "text",
    None,
    "Markdown file for tables and curves as plain text. In a file that exists, only the part between the lines "
    "<!-- tables --> and <!-- /tables --> is replaced.",
    flag_values=FLAGS,
)
_TITLE = flags.DEFINE_string("title", "Results of multi-task self-training", "Title of the page.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "report.html", "HTML file to write.", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must report`."""
    urls = ["datasets", "workdirs", "student", "transfer", "curves", "out", "title"]
    app.run("must report", __doc__, FLAGS, main, argv, urls)


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
