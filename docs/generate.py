"""Makes the pages that no hand keeps: commands from their flags, tables of fields, notebooks, files of the project."""

import dataclasses
import functools
import html
import importlib
import json
import os
import re
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# Pages whose text is a file of the project. Its links to other files become plain text, unless these are pages too.
BORROWED = {
    "explanation/results/rooms.md": "experiments/rooms/RESULTS.md",
    "explanation/results/rooms-tables.md": "experiments/rooms/TABLES.md",
    "explanation/results/photographs.md": "experiments/photos/RESULTS.md",
    "explanation/results/photographs-tables.md": "experiments/photos/TABLES.md",
    "explanation/results/driving.md": "experiments/driving/RESULTS.md",
    "explanation/results/labeling.md": "experiments/labeling/RESULTS.md",
    "explanation/results/export.md": "experiments/export/RESULTS.md",
    "explanation/results/one-device.md": "experiments/gpu/RESULTS.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/security.md": "SECURITY.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def pages(public_repository: str = "") -> dict[str, str]:
    """Returns the generated pages, {path in docs/: Markdown}."""
    notebooks = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    return {
        "reference/commands/index.md": overview(),
        **{f"reference/commands/{verb}.md": command(verb) for verb in verbs()},
        **{f"notebooks/{path.stem}.md": notebook(path, public_repository) for path in notebooks},
        **{page: borrowed(page) for page in BORROWED},
        "reference/python.md": python(),
    }


def verbs() -> dict[str, str]:
    """Returns {verb: what it does}, as `must` prints them."""
    return importlib.import_module("must_tf.cli.__main__").VERBS


def overview() -> str:
    """Returns the page of all verbs."""
    rows = [f"| [`must {verb}`]({verb}.md) | {text} |" for verb, text in verbs().items()]
    return "\n".join(["# All commands\n", "| command | what it does |", "|---|---|", *rows, ""])


def command(verb: str) -> str:
    """Returns the page of a verb: the help text of its module, and one entry per flag."""
    module = importlib.import_module(f"must_tf.cli.{verb}")
    entries = []
    for name in module.FLAGS:
        flag = module.FLAGS[name]
        default = "" if flag.boolean or not flag.default else f" Default: `{str(flag.default_as_str)[1:-1]}`."
        title = f"--{'[no]' if flag.boolean else ''}{name}"
        entries.append(f"### `{title}` {{ #{name} }}\n\n{_plain(flag.help).rstrip('.')}.{default}\n")
    return "\n".join([f"# must {verb}\n", _outdented(module.__doc__), "\n## Flags\n", *entries])


def fields(where: str) -> str:
    """Returns what a dataclass's docstring says, and a table of its own fields: name, type, default and meaning.

    Raises:
      ValueError: a field has no text, or a text no field.
    """
    cls = _package()[where.removeprefix("must_tf.")]
    sections = cls.docstring.parse("google")
    prose = "\n\n".join(part.value for part in sections if part.kind.value == "text")
    texts = {item.name: item.description for part in sections if part.kind.value == "attributes" for item in part.value}
    own = {name: item for name, item in cls.members.items() if item.is_attribute and item.annotation}
    known = {name: item for name, item in own.items() if "instance-attribute" in item.labels}
    if set(known) != set(texts):
        raise ValueError(f"{where}: fields {sorted(known)}, texts {sorted(texts)}")
    rows = [
        f"| `{name}` | {_code(item.annotation)} | {_code(item.value) if item.value else 'required'} | "
        f"{_plain(' '.join(texts[name].split()))} |"
        for name, item in known.items()
    ]
    return "\n".join([prose, "", "| field | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def python() -> str:
    """Returns the page of the public names, which mkdocstrings fills from their docstrings."""
    package = importlib.import_module("must_tf")
    parts = ["# Python\n", "Every name is imported on first use: `import must_tf` loads no TensorFlow.\n"]
    for name in package.__all__:
        value = getattr(package, name)
        parts.append(f"## must_tf.{name} {{ #must_tf.{name} }}\n")
        if isinstance(value, types.ModuleType):
            parts.append(f"{value.__doc__.strip()}\n")
            public = ((f"must_tf.{name}.{inner}", getattr(value, inner)) for inner in getattr(value, "__all__", ()))
        else:
            public = iter([(f"must_tf.{name}", value)])
        parts += [_documented(path, inner) for path, inner in public if callable(inner)]
    return "\n".join(parts)


def _documented(path: str, value: Any) -> str:
    """Returns the lines by which mkdocstrings documents a function or class under its public path."""
    plain = isinstance(value, type) and not dataclasses.is_dataclass(value)
    home = re.sub(r"^must_tf\.(export|experiments)\b", r"\1", f"{value.__module__}.{value.__qualname__}")
    return f"::: {home}\n    options:\n      heading: {path}\n      members: {str(plain).lower()}\n"


def notebook(path: Path, public_repository: str) -> str:
    """Returns a notebook as a page. It links to Colab only if the project has a public address."""
    name = path.relative_to(ROOT).as_posix()
    links = [f"[Download this notebook]({path.name})"]
    if public_repository:
        place = public_repository.removeprefix("https://github.com/").rstrip("/")
        links.append(f"[Open it in Colab](https://colab.research.google.com/github/{place}/blob/main/{name})")
    title, *parts = (_cell(cell) for cell in json.loads(path.read_text())["cells"])
    return "\n\n".join([title, " · ".join(links), *parts, ""])


def _cell(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    return text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


def borrowed(page: str) -> str:
    """Returns a file of the project as a page."""
    source = ROOT / BORROWED[page]
    return _LINK.sub(functools.partial(_link, page, source.parent), source.read_text())


def _link(page: str, folder: Path, found: re.Match) -> str:
    """Returns a link of a borrowed page: to another page, or its text alone if it leads to a file that is no page."""
    text, target, anchor = found[1], found[2], found[3] or ""
    if not target or re.match(r"\w+:", target):
        return found[0]
    path = os.path.relpath((folder / target).resolve(), ROOT)
    places = {source: uri for uri, source in BORROWED.items()}
    place = places.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
    return f"[{text}]({os.path.relpath(place, Path(page).parent)}{anchor})" if place else f"{text} (`{path}`)"


@functools.cache
def _package() -> griffe.Module:
    """Reads the package from its source, without importing it."""
    return griffe.load("must_tf", search_paths=[ROOT], try_relative_path=False)


def _code(value: object) -> str:
    return f"<code>{html.escape(str(value))}</code>".replace("|", "&#124;")


def _plain(text: str) -> str:
    """Escapes what Markdown would read in a text, except code in backticks."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        _code(part[1:-1]) if part.startswith("`") else re.sub(r"([*_\[\]|])", r"\\\1", html.escape(part, False))
        for part in parts
    )


def _outdented(doc: str) -> str:
    """Returns a module's docstring as Markdown: lists of flags, indented by two, become code as the rest has."""
    return re.sub(r"(?m)(^  \S.*\n?)+", lambda block: "\n" + textwrap.indent(block[0], "  "), doc.strip() + "\n")
