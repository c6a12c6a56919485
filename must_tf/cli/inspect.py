"""Verifies every byte of a dataset, prints statistics of its labels and how well they agree, and writes a page.

The page shows drawn labels, with filters by class and score. It opens offline. The exit code is 1 if anything is wrong
with the data.

    must inspect data/photos
"""

import sys
from pathlib import Path

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import define_allow_ops, teachers_of

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Folder of records; `must inspect DIR` means the same.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "HTML file to write; by default DATA/report.html.", flag_values=FLAGS)
_PICTURES = flags.DEFINE_integer("pictures", 24, "Number of images to draw.", 0, flag_values=FLAGS)
_TEACHERS = flags.DEFINE_list(
    "teachers",
    [],
    "TASK=FORMAT:PATH, separated by commas: teachers to compare with themselves on mirror images.",
    flag_values=FLAGS,
)
_CARDS = flags.DEFINE_list(
    "cards",
    [],
    "TASK=FILE, separated by commas: cards of the teachers; or --cards.TASK.FIELD=VALUE, as for `must label`.",
    flag_values=FLAGS,
)
_THRESHOLDS = flags.DEFINE_list(
    "thresholds", [], "TASK.THRESHOLD=VALUE, separated by commas, as for `must label`.", flag_values=FLAGS
)
_ALLOW_OPS = define_allow_ops(FLAGS)
flags.mark_flag_as_required("data", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must inspect`."""
    rest, fields = app.split_fields(argv, "--cards.")
    app.run("must inspect", __doc__, FLAGS, lambda: main(fields), _with_folder(rest))


def main(fields: dict[str, str]) -> None:
    """Verifies, prints, draws."""
    load = teachers_of(_TEACHERS.value, _CARDS.value, _THRESHOLDS.value, fields, _ALLOW_OPS.value)
    from must_tf.report import inspect, summary

    out = _OUT.value or Path(_DATA.value, "report.html")
    teachers = load()
    dataset, findings, grades = inspect(_DATA.value, out, _PICTURES.value, sys.stderr.isatty(), teachers)
    print(summary(dataset, findings, grades))
    print(f"  page: {out}")
    for problem in findings.problems:
        print(f"must: problem: {problem}", file=sys.stderr)
    if findings.problems:
        sys.exit(1)


def _with_folder(argv: list[str]) -> list[str]:
    """Turns the first argument that is no flag into `--data`; a second one stays, and is refused as an error."""
    before = ""
    for index, argument in enumerate(argv):
        value = before.startswith("-") and "=" not in before
        if not argument.startswith("-") and not value and not any(flag.startswith("--data") for flag in argv):
            return [*argv[:index], f"--data={argument}", *argv[index + 1 :]]
        before = argument
    return argv
