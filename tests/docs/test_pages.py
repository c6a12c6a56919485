"""The generated pages follow the code, and no page promises what the code has not."""

import ast
import dataclasses
import html
import importlib
import importlib.util
import re
import subprocess
import sys
import typing

import pages
import pytest

from must_tf.cli.__main__ import VERBS
from must_tf.tasks import KINDS
from must_tf.teachers.card import Input
from must_tf.training import Experiment

DOCS = pages.ROOT / "docs"


@pytest.fixture(scope="module")
def generate():
    """The module docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(cls):
    """Yields a dataclass and those of its fields."""
    yield cls
    for kind in typing.get_type_hints(cls).values():
        if dataclasses.is_dataclass(kind):
            yield from parts(kind)


def tables(name):
    """Returns the classes whose fields a page of the reference has."""
    return re.findall(r"\{\{ fields (\S+) \}\}", (DOCS / "reference" / name).read_text())


def names_of(name):
    return {found.rpartition(".")[2] for found in tables(name)}


def test_config_page_has_every_part_of_an_experiment():
    assert {part.__name__ for part in parts(Experiment)} == names_of("config.md")


def test_card_page_has_the_fields_of_every_reader(generate):
    readers = {kind.reader for kind in KINDS.values() if kind.reader}
    assert {Input.__name__, *(reader.__name__ for reader in readers)} <= names_of("card.md")
    text = "".join(map(generate.fields, tables("card.md")))
    for reader in readers:
        for field in dataclasses.fields(reader):
            assert f"| `{field.name}` |" in text


def test_tasks_page_has_every_kind():
    assert {kind.__name__ for kind in KINDS.values()} == names_of("tasks.md")


@pytest.mark.parametrize("verb", VERBS)
def test_page_of_a_verb_has_every_flag_with_its_text(generate, verb):
    text = " ".join(re.sub(r"</?code>|[\\`]", "", html.unescape(generate.command(verb))).split())
    own = importlib.import_module(f"must_tf.cli.{verb}").FLAGS
    for name in own:
        assert f"### --{name} " in text or f"### --[no]{name} " in text
        assert " ".join(own[name].help.replace("`", "").split()).rstrip(".") in text


def test_records_page_has_every_key_of_a_record(toy_data):
    from must_tf.records import framing, open_dataset

    tf = importlib.import_module("tensorflow")
    text = (DOCS / "reference" / "records.md").read_text()
    dataset = open_dataset(toy_data)
    for serialized in framing.read_all(dataset.paths).take(6):
        for key in tf.train.Example.FromString(serialized.numpy()).features.feature:
            first, _, rest = key.partition("/")
            shown = key if first == "image" else f"T/{rest}"
            last = shown.rpartition("/")[2]
            assert f"`{shown}`" in text or f"`{last}`" in text, key


def test_links_to_colab_are_there_only_with_a_public_address(generate):
    for path in sorted((DOCS / "notebooks").glob("*.ipynb")):
        assert "colab" not in generate.notebook(path, "")
        page = generate.notebook(path, "https://github.com/someone/must_tf")
        assert f"colab.research.google.com/github/someone/must_tf/blob/main/docs/notebooks/{path.name}" in page


def test_troubleshooting_has_the_words_of_the_messages():
    """Of each message in a heading, what stands between its placeholders (X, N, FILE, numbers, ...) is in the code."""
    texts = []
    for path in (path for top in ("must_tf", "export") for path in (pages.ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    code = "\0".join([*texts, (pages.ROOT / "Makefile").read_text()])
    headings = re.findall(r"^### (.*)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    phrases = [phrase for heading in headings for phrase in re.findall(r"`([^`]+)`", heading)]
    pieces = [
        piece.strip(" :;'()=") for phrase in phrases for piece in re.split(r"\.\.\.|,|\b[A-Z]+\b|[\d.]*\d", phrase)
    ]
    assert len(pieces) > 40
    said = [piece.replace("the teacher", "\0") for piece in pieces]
    assert {piece for piece in said if len(piece) > 3 and piece not in code} == {"must: command not found"}  # a shell's


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path, things, tmp_path):
    import nbclient
    import nbformat

    notebook = nbformat.read(path, 4)
    for thing in notebook.metadata.starts_with:
        things[thing](tmp_path)
    for cell in notebook.cells:
        for old, new in notebook.metadata.quick.items():
            cell.source = cell.source.replace(old, new)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()


@pytest.mark.slow
def test_site_builds_without_a_warning_and_all_its_links_lead_somewhere(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={tmp_path / 'site'}"]
    ended = subprocess.run(build, cwd=pages.ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    ended = subprocess.run(
        [sys.executable, DOCS / "links.py", tmp_path / "site"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
