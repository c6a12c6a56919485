"""Hooks of mkdocs: fills in the nav, and adds pages that are made from the code, notebooks and files of the project."""

import importlib.util
import re
from pathlib import Path

from mkdocs.structure.files import File

_SPEC = importlib.util.spec_from_file_location("generate", Path(__file__).with_name("generate.py"))
generate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)

_FIELDS = re.compile(r"^\{\{ fields (\S+) \}\}$", re.MULTILINE)
_pages: dict[str, str] = {}


def on_config(config):
    """Makes the pages, and puts all pages of a folder in the place of `FOLDER/*` in the nav."""
    docs = Path(config.docs_dir)
    _pages.clear()
    _pages.update(generate.pages(config.extra["public_repository"]))
    written = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    config.nav = _expand(config.nav, sorted(written | set(_pages)), set(_named(config.nav)))
    return config


def on_files(files, config):
    """Adds the pages."""
    for uri, text in _pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Puts a table of a dataclass's fields in the place of `{{ fields MODULE.CLASS }}`."""
    return _FIELDS.sub(lambda found: generate.fields(found[1]), markdown)


def _named(nav):
    """Yields all entries of the nav that are no sections."""
    for entry in nav:
        for part in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _named(part) if isinstance(part, list) else [part]


def _expand(nav, pages, named):
    """Returns the nav with the pages of `FOLDER/*` that it does not name; a section without any page is left out."""
    expanded = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, part),) = entry.items()
            part = _expand(part, pages, named) if isinstance(part, list) else part
            expanded += [{title: part}] if part else []
        elif entry.endswith("/*"):
            expanded += [page for page in pages if Path(page).parent == Path(entry).parent and page not in named]
        else:
            expanded.append(entry)
    return expanded
