"""Verifies every byte of a dataset, prints statistics of its labels and how well they agree, and writes a page.

The page shows drawn labels, with filters by task, class and score. It opens offline. With more than 100 images, the
pictures are files in a folder beside it. The exit code is 1 if anything is wrong with the data.

    must inspect data/photos

Other questions, one at a time:
  DIR --audit=200 --to=coco --out=audit   writes a random sample for people to correct
  DIR --audit_from=coco:corrected.json    how right all labels are, by that sample
  DIR OTHER                               what differs between two datasets
  DIR --duplicates                        which images are nearly the same
  --leaks=TRAIN,TEST                      which test images are in the training set
"""

import csv
import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import TeacherFlags
from must_tf.errors import UserError

if TYPE_CHECKING:
    from must_tf.quality import Duplicates

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Folder of records; `must inspect DIR` means the same.", flag_values=FLAGS)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "HTML file to write; by default DATA/report.html. With --audit: folder for the sample, new or empty. With "
    "--duplicates and --leaks: CSV file for all pairs.",
    flag_values=FLAGS,
)
_PICTURES = flags.DEFINE_integer("pictures", 24, "Number of images to draw.", 0, flag_values=FLAGS)
_SHARDS = flags.DEFINE_integer(
    "shards",
    None,
    "Read only this many shards, at even distances, and count their labels; of the others only check that they are "
    "there in their full size.",
    1,
    flag_values=FLAGS,
)
_AUDIT = flags.DEFINE_integer(
    "audit",
    0,
    "Number of images to write for people to correct: a random sample, stratified by class and score. The manifest "
    "keeps how it was drawn.",
    0,
    flag_values=FLAGS,
)
_TO = flags.DEFINE_string("to", None, "With --audit: format of the sample, as of `must convert`.", flag_values=FLAGS)
_IMAGES = flags.DEFINE_enum(
    "images",
    "copy",
    ["copy", "link", "none"],
    "With --audit: what becomes of the image files, as of `must convert`.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "With --audit: seed of the random choice.", flag_values=FLAGS)
_AUDIT_FROM = flags.DEFINE_string(
    "audit_from",
    None,
    "The corrected sample, named as for `must label --images`, such as coco:corrected.json. Prints precision and "
    "recall of all labels by class, with 95 % intervals, and keeps them in the manifest.",
    flag_values=FLAGS,
)
_ROOT = flags.DEFINE_string(
    "root",
    None,
    "With --audit_from: folder of the images that the labels name; by default that of the sample.",
    flag_values=FLAGS,
)
_TASK = flags.DEFINE_string(
    "task", "", "With --audit and --audit_from: the task, if there are several to choose from.", flag_values=FLAGS
)
_AGAINST = flags.DEFINE_string(
    "against",
    None,
    "A second folder of records; `must inspect A B` means the same. Prints the images that one of them has alone, by "
    "content, how their labels agree, and how their manifests differ.",
    flag_values=FLAGS,
)
_DUPLICATES = flags.DEFINE_bool(
    "duplicates",
    False,
    "List images that are nearly the same as an earlier one: compressed again, resized, slightly changed or mirrored.",
    flag_values=FLAGS,
)
_LEAKS = flags.DEFINE_list(
    "leaks",
    [],
    "TRAIN,TEST: two folders of records. List images of TEST that are nearly the same as one of TRAIN; the exit code "
    "is 1 if there are any.",
    flag_values=FLAGS,
)
_TEACHERS = TeacherFlags(FLAGS, "They are compared with themselves on mirror images.")

_USED = {  # flags by the question that they are for
    "audit": {"data", "audit", "to", "out", "images", "seed", "task"},
    "audit_from": {"data", "audit_from", "root", "task"},
    "against": {"data", "against"},
    "duplicates": {"data", "duplicates", "out"},
    "leaks": {"leaks", "out"},
}
_OF_PAGES = set(FLAGS) - {"to", "images", "seed", "root", "task"}


def run(argv: list[str]) -> None:
    """Runs `must inspect`."""
    rest, fields = app.split_fields(argv, "--cards.")
    for name in ("data", "against"):
        rest = app.with_place(rest, name, ["--duplicates"])
    urls = ["data", "out", "against", "leaks", "teachers"]
    app.run("must inspect", __doc__, FLAGS, lambda: main(fields), rest, urls)


def main(fields: dict[str, str]) -> None:
    """Answers the one question that the flags ask."""
    answers: dict[str, Callable[[], None]] = {
        "audit": _sample,
        "audit_from": _audit,
        "against": _compare,
        "duplicates": _duplicates,
        "leaks": _leaks,
    }
    asked = [name for name in answers if FLAGS[name].value]
    if len(asked) > 1:
        raise UserError(f"--{asked[0]} and --{asked[1]}: received together; expected one question at a time")
    question = asked[0] if asked else ""
    if question and fields:
        raise UserError(f"--cards.{next(iter(fields))}: received with --{question}; expected {_users('teachers')}")
    for name in FLAGS:
        if FLAGS[name].present and name not in _USED.get(question, _OF_PAGES):
            raise UserError(
                f"--{name}: received {f'with --{question}' if question else 'alone'}; expected {_users(name)}"
            )
    if question != "leaks" and not _DATA.value:
        raise UserError("not given: --data; see `must inspect --help`")
    answers[question]() if question else _inspect(fields)


def _users(name: str) -> str:
    """Returns what a flag is for."""
    users = [f"--{question}" for question, used in _USED.items() if name in used and name != question]
    return f"with {' or '.join(users)} only" if users else "to see a whole dataset only"


def _inspect(fields: dict[str, str]) -> None:
    """Verifies, prints, draws."""
    load = _TEACHERS.loader(fields)
    from must_tf.verbs import inspect

    found = inspect(_DATA.value, _OUT.value, _PICTURES.value, load or (), shards=_SHARDS.value)
    print(found)
    print(f"  page: {found.page}")
    for problem in found.findings.problems:
        print(f"must: problem: {problem}", file=sys.stderr)
    if found.findings.problems:
        sys.exit(1)


def _sample() -> None:
    """Writes a sample, and prints what to do with it."""
    from must_tf.quality import sample

    if not (_TO.value and _OUT.value):
        raise UserError("--audit: received without --to and --out; expected a format and a folder for the sample")
    progress = _progress(_AUDIT.value)
    drawn = sample(_DATA.value, _AUDIT.value, _TO.value, _OUT.value, _TASK.value, _SEED.value, _IMAGES.value, progress)
    print(f"{_OUT.value}: {len(drawn.numbers):,} of {drawn.population:,} images as {_TO.value}")
    for stratum in drawn.strata:
        more = f" and {len(stratum.cells) - 2} more" if len(stratum.cells) > 2 else ""
        print(f"  {len(stratum.sampled):,} of {stratum.size:,}: {'; '.join(stratum.cells[:2])}{more}")
    print(f"  correct all of them, and then: must inspect {_DATA.value} --audit_from=FORMAT:FILE")


def _audit() -> None:
    """Estimates, and prints the estimates."""
    from must_tf.quality import audit
    from must_tf.report.quality import audited_lines

    print("\n".join(audited_lines(audit(_DATA.value, _AUDIT_FROM.value, _TASK.value, _ROOT.value))))


def _compare() -> None:
    from must_tf.quality import compare
    from must_tf.report.quality import comparison_lines

    folders = (_DATA.value, _AGAINST.value)
    print("\n".join(comparison_lines(compare(*folders, _progress(_count(*folders))), *folders)))


def _duplicates() -> None:
    from must_tf.quality import duplicates

    _tell(duplicates(_DATA.value, _progress(_count(_DATA.value))), "are nearly the same as an earlier one")


def _leaks() -> None:
    from must_tf.quality import leaks

    if len(_LEAKS.value) != 2:
        raise UserError(f"--leaks={','.join(_LEAKS.value)}: expected two folders of records, TRAIN,TEST")
    train, test = _LEAKS.value
    found = leaks(train, test, _progress(_count(train, test)))
    _tell(found, f"of {test} are nearly the same as one of {train}")
    if found.pairs:
        sys.exit(1)


def _tell(found: "Duplicates", what: str) -> None:
    """Prints near-duplicates, and writes all of them if a file is given."""
    from must_tf.report.quality import duplicate_lines
    from must_tf.storage import write_bytes

    print("\n".join(duplicate_lines(found, what, _OUT.value or "--out=FILE.csv writes all of them")))
    if _OUT.value:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["image", "same_as", "kind", "bits"])
        rows.writerows((pair.image, pair.earlier, pair.kind, pair.bits) for pair in found.pairs)
        write_bytes(_OUT.value, text.getvalue().encode(errors="surrogateescape"))


def _count(*folders: str) -> int:
    """Returns how many records there are."""
    from must_tf.records import read_manifest

    return sum(read_manifest(folder).count for folder in folders)


def _progress(total: int) -> Callable[[], None]:
    """Returns what counts images that are done, and shows it on terminals alone."""
    from must_tf.runtime.progress import Progress

    progress = Progress("inspect", total)
    return progress.update if sys.stderr.isatty() else lambda: None
