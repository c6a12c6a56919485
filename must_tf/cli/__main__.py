"""Entry point of the command `must`: runs the verb that is given, and imports no other."""

import importlib
import io
import os
import sys
from pathlib import Path

from must_tf import __version__
from must_tf.cli import app
from must_tf.cli.verbs import VERBS
from must_tf.errors import nearest


def main(argv: list[str] | None = None) -> None:
    """Runs one verb. A closed pipe, as in `must train --help | head`, is no error.

    Neither is a character that the terminal does not have, or a name of a file that is no text: it is printed escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(141)


def _run(argv: list[str]) -> None:
    if not argv:
        from must_tf.cli.journey import lines

        print("\n".join(lines(Path())))
        print("`must --help` lists the verbs.")
        return
    if argv[0] in ("--help", "-h", "help"):
        width = max(map(len, VERBS))
        print("must VERB --flags: Multi-Task Self-Training\n")
        print("\n".join(f"  must {verb:{width}}  {text}" for verb, text in VERBS.items()))
        print("\n`must VERB --help` shows the flags of a verb.")
        return
    if argv[0] == "--version":
        print(f"must_tf {__version__}")
        return
    verb, *rest = argv
    if verb not in VERBS:
        app.fail(f"no verb {verb!r}; {nearest(verb, VERBS)}")
    importlib.import_module(f"must_tf.cli.{verb}").run(rest)


if __name__ == "__main__":
    main()
