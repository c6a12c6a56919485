"""Verifies a dataset to the last byte, prints what it holds and how well its labels agree, and writes a page.

`must inspect DIR`: the page shows drawn labels, with filters by class and by score, and opens offline. Exit code 1
where something is wrong with the data.
"""

import sys
from pathlib import Path

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import define_allow_ops, teachers_of

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Folder of records; `must inspect DIR` is the same.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "The page; DATA/report.html by default.", flag_values=FLAGS)
_PICTURES = flags.DEFINE_integer("pictures", 24, "Images to draw.", 0, flag_values=FLAGS)
_TEACHERS = flags.DEFINE_list(
    "teachers", [], "TASK=FORMAT:PATH: compare a teacher with itself on mirrored pictures.", flag_values=FLAGS
)
_CARDS = flags.DEFINE_list(
    "cards",
    [],
    "TASK=FILE: the teachers' cards; or --cards.TASK.FIELD=VALUE, as for `must label`.",
    flag_values=FLAGS,
)
_THRESHOLDS = flags.DEFINE_list(
    "thresholds", [], "TASK.FIELD=VALUE: thresholds of the teachers, as for `must label`.", flag_values=FLAGS
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
    """Turns a folder that stands alone into `--data`; a second one is left, as an error."""
    before = ""
    for index, argument in enumerate(argv):
        value = before.startswith("-") and "=" not in before
        if not argument.startswith("-") and not value and not any(flag.startswith("--data") for flag in argv):
            return [*argv[:index], f"--data={argument}", *argv[index + 1 :]]
        before = argument
    return argv
