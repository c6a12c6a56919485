"""Every block of code in the docs and the README is run, or says why not; its commands have flags that exist."""

import functools
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pages
import pytest

import must_tf
from must_tf.cli.__main__ import VERBS, main

_FREE = ("--config.", "--cards.")  # flags that absl does not know
PAGES = {str(page.relative_to(pages.ROOT)): page for page in pages.pages()}
RUN = [name for name, page in PAGES.items() if any(not block.why for block in pages.blocks(page))]


def flags_of(verb):
    own = importlib.import_module(f"must_tf.cli.{verb}").FLAGS
    return {*own, *(f"no{name}" for name in own if own[name].boolean), "help", "flagfile"}


@pytest.mark.parametrize("name", PAGES)
def test_commands_have_flags_that_exist(name):
    for block in pages.blocks(PAGES[name]):
        for command in pages.commands(block.text) if block.language == "bash" else ():
            words = shlex.split(command, comments=True)
            for index, word in enumerate(words[:-1]):
                if word == "must" and words[index + 1] in VERBS:
                    given = {flag[2:].partition("=")[0] for flag in words[index + 1 :] if flag.startswith("--")}
                    given -= {flag for flag in given if f"--{flag}".startswith(_FREE)}
                    assert given <= flags_of(words[index + 1]), (command, given - flags_of(words[index + 1]))


@pytest.mark.parametrize("name", PAGES)
def test_public_names_are_there(name):
    text = PAGES[name].read_text()
    names = {found.rstrip(".") for found in re.findall(r"\bmust_tf(?:\.\w+)+", text)}
    for found in names - {found for found in names if ".experiments" in found}:  # modules to run
        functools.reduce(_part, found.split(".")[1:], must_tf)


def _part(whole, name):
    try:
        return getattr(whole, name)
    except AttributeError:
        return importlib.import_module(f"{whole.__name__}.{name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_blocks_run(name, things, tmp_path, monkeypatch, capfd):
    page = PAGES[name]
    for thing in pages.starts_with(page):
        things[thing](tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in pages.blocks(page):
        text = pages.quick(page, block.text)
        if block.why:
            continue
        if block.title:
            (tmp_path / block.title).write_text(text)
        elif block.language == "python":
            exec(compile(text, f"{name}: {text.splitlines()[0]}", "exec"), names)
        else:
            assert block.language == "bash", f"{name}: a block of {block.language} without a title, and not run"
            run(text, tmp_path, capfd)


def run(text, folder, capfd):
    """Runs a script; lines that are commands of `must` alone run in this process, which has TensorFlow loaded."""
    lines = pages.commands(text)
    if any(not line.startswith("must ") or set("|<>$`") & set(line) for line in lines):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", "-euc", text],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        return
    for line in lines:
        code = must(shlex.split(line, comments=True)[1:])
        assert not code, f"{line}: exit code {code}, {capfd.readouterr().err[-2000:]}"


def must(argv):
    """Runs `must` in this process, and returns its exit code."""
    try:
        main(argv)
    except SystemExit as error:
        return error.code
    finally:
        importlib.import_module(f"must_tf.cli.{argv[0]}").FLAGS.unparse_flags()
    return 0
