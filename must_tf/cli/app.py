"""Runs the program of one verb: parses its flags, prints its help, turns errors into one line and an exit code."""

import errno
import logging as standard_logging
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from absl import app, flags, logging

from must_tf.copies import named
from must_tf.errors import UserError, first_line
from must_tf.runtime import imports
from must_tf.storage import local

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
imports.spare()

_NOT_GIVEN = re.compile(r"flag (--\w+)=None: Flag --\w+ must have a value")  # absl's words
_OF_READING = re.compile(r"[Dd]ecode|[Pp]arse|TFRecord")  # other wrong shapes are defects of the program
_OF_FILES = re.compile(r"No such file|Permission denied|Input/output error|Stale file|is full|disk I/O|unable to open")
_URL = re.compile(r"(?:(?<=[=,:])|^)\w[\w+.-]*://.*")
_OF_PLACES = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
_RENAMED = {  # flags of version 0.1.0, and their names now
    "licence": "license",
    "allow_licences": "allow_licenses",
    "normalise": "normalize",
    "nonormalise": "nonormalize",
    "utilisation": "utilization",
    "init": "init_from",
    "inits": "init_from",
    "temperature": "config.temperature",
    "min_scale": "config.min_scale",
    "colour": "config.color",
    "grey": "config.gray",
    "config.init": "config.init_from",
    "config.augment.colour": "config.augment.color",
}
Number = TypeVar("Number", int, float)


def run(
    program: str,
    doc: str,
    own_flags: flags.FlagValues,
    main: Callable[[], None],
    argv: Sequence[str],
    urls: Collection[str] = (),
) -> None:
    """Parses the flags of a program, such as `must train`, and runs it.

    The exit code is 0 for success and 2 for a user's mistake, which is reported in one line.

    Args:
      program: its name.
      doc: its help text; the flags' own texts follow.
      own_flags: its flags.
      main: what it does once the flags are parsed.
      argv: its arguments.
      urls: flags whose values may be URLs, such as `s3://bucket/folder`.
    """
    logging.set_verbosity(logging.WARNING)
    standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(f"{program}: {doc.strip()}\n\nFlags:\n{_help(own_flags)}")
        return

    def parse(arguments: Sequence[str]) -> list[str]:
        refuse_former(arguments)
        flags.FLAGS(arguments[:1])  # absl's own flags keep their defaults
        rest = own_flags(arguments)
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} received; expected flags only, as --name=value; see `{program} --help`")
        _refuse_infinite(own_flags)
        _refuse_urls(own_flags, urls)
        return rest

    try:
        app.run(lambda _: main(), argv=[program, *argv], flags_parser=parse)
    except UserError as error:
        fail(named(f"{error}").replace("\n", " "))
    except flags.Error as error:
        missing = _NOT_GIVEN.findall(str(error))
        fail(f"not given: {', '.join(missing)}; see `{program} --help`" if missing else f"{error}".replace("\n", " "))
    except KeyboardInterrupt:
        fail("interrupted; the same command continues the work", code=130)
    except Exception as error:
        mendable = _mendable(error)
        if not mendable:
            raise
        fail(mendable)


def _help(own_flags: flags.FlagValues) -> str:
    """Returns a paragraph per flag, in the order of their definition: its name, its text and its default."""
    paragraphs = []
    for name in own_flags:
        flag = own_flags[name]
        default = "" if flag.boolean or not flag.default else f" (default: {f'{flag.default_as_str}'[1:-1]})"
        text = " ".join(f"--{'[no]' if flag.boolean else ''}{name}: {flag.help}{default}".split())
        paragraphs.append(textwrap.fill(text, 100, subsequent_indent="    ", break_on_hyphens=False))
    return textwrap.indent("\n".join([*paragraphs, "--flagfile: File with flags, one per line."]), "  ")


def _refuse_infinite(own_flags: flags.FlagValues) -> None:
    """Raises a `UserError` for the first number that is NaN or infinite, which absl's bounds let through."""
    for name in own_flags:
        value = own_flags[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name}: {value} received, expected a finite number")


def _refuse_urls(own_flags: flags.FlagValues, allowed: Collection[str]) -> None:
    """Raises a `UserError` for the first URL in a flag that takes local paths, also in `NAME=FORMAT:URL`."""
    for name in own_flags:
        values = own_flags[name].value
        for value in values if isinstance(values, list) else [values]:
            found = _URL.search(value) if isinstance(value, str) and name not in allowed else None
            if found:
                local(found[0], name)


def _mendable(error: Exception) -> str:
    """Returns one line for errors that users can mend, of disks and damaged records; for defects an empty text."""
    tensorflow, sqlite3 = sys.modules.get("tensorflow"), sys.modules.get("sqlite3")
    if isinstance(error, OSError) and error.errno in _OF_PLACES:
        place = error.filename2 or error.filename or "a file"
        return f"{place}: {error.strerror}; mend it, and the same command continues the work"
    if sqlite3 and isinstance(error, sqlite3.OperationalError) and _OF_FILES.search(str(error)):
        return f"{first_line(error)}; make room on the disk, also for temporary files (TMPDIR), and run it again"
    if tensorflow and isinstance(error, tensorflow.errors.OpError) and _OF_FILES.search(str(error)):
        return f"{first_line(error)}; mend it, and the same command continues the work"
    if isinstance(error, MemoryError) or (tensorflow and isinstance(error, tensorflow.errors.ResourceExhaustedError)):
        return f"{first_line(error)}; no room on the disk or in memory: make room, and run the same command again"
    training = sys.modules.get("must_tf.training.strategy") if "TF_CONFIG" in os.environ else None  # of several workers
    if training and isinstance(error, training.LOST):
        return f"another worker was lost ({first_line(error)}); the same command on all of them continues the work"
    unread = tensorflow and isinstance(error, tensorflow.errors.InvalidArgumentError) and _OF_READING.search(str(error))
    if (
        tensorflow
        and isinstance(error, UnicodeDecodeError)
        and _OF_READING.search(error.object.decode(errors="replace"))
    ):
        return "a record cannot be read (it is no tf.train.Example); `must inspect FOLDER` names the shard"
    if unread or (tensorflow and isinstance(error, tensorflow.errors.DataLossError)):
        from must_tf.records.schema import task_at_fault  # it imports TensorFlow

        task = task_at_fault(error)
        of_task = f"its label of task {task!r}: " if task else ""
        return f"a record cannot be read ({of_task}{first_line(error)}); `must inspect FOLDER` names the shard"
    return ""


def fail(message: str, code: int = 2) -> None:
    """Prints one line to standard error and exits."""
    print(f"must: error: {message}", file=sys.stderr)
    sys.exit(code)


def refuse_former(argv: Sequence[str]) -> None:
    """Ends the program if a flag has a name of an older version; the line says its name now."""
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name in _RENAMED:
            fail(f"--{name}: is now --{_RENAMED[name]}")


def split_fields(argv: Sequence[str], prefix: str = "--config.") -> tuple[list[str], dict[str, str]]:
    """Splits arguments into those without the prefix, and {FIELD: VALUE} of `--config.FIELD=VALUE`."""
    refuse_former(argv)
    rest, overrides = [], {}
    for argument in argv:
        if argument.startswith(prefix):
            field, equals, value = argument.removeprefix(prefix).partition("=")
            if not equals:
                fail(f"{argument}: no value; expected {argument}=VALUE")
            overrides[field] = value
        else:
            rest.append(argument)
    return rest, overrides


def numbers(flag: flags.FlagHolder, kind: type[Number], lowest: float) -> tuple[Number, ...]:
    """Returns the numbers of a list flag.

    Raises:
      UserError: a value is not a number of this kind, or is below `lowest`.
    """
    name = "whole numbers" if kind is int else "numbers"
    wrong = UserError(f"--{flag.name}: {','.join(flag.value)!r} received, expected {name} of {lowest:g} or more")
    try:
        values = tuple(kind(text) for text in flag.value)
    except ValueError:
        raise wrong from None
    if any(not lowest <= value < math.inf for value in values):
        raise wrong
    return values


def with_place(argv: list[str], name: str = "data", switches: Collection[str] = ()) -> list[str]:
    """Turns the first argument that is no flag into `--NAME`; a second one stays, and is refused as an error.

    Args:
      argv: the arguments.
      name: of the flag.
      switches: flags that take no value, so that an argument after them is none.
    """
    before = ""
    for index, argument in enumerate(argv):
        value = before.startswith("-") and "=" not in before and before not in switches
        if not argument.startswith("-") and not value and not any(flag.startswith(f"--{name}") for flag in argv):
            return [*argv[:index], f"--{name}={argument}", *argv[index + 1 :]]
        before = argument
    return argv
