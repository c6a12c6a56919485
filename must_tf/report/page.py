"""Writes an HTML page of sections: one file that needs nothing from outside."""

import base64
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from must_tf.report.markup import Html, element
from must_tf.storage import write_bytes

# A browser that honors it fetches nothing but pictures beside the page, and runs no script but the page's own.
_POLICY = "default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'"

_NUMBER = "number"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
      anchor: its id in the page, unique there.
      title: its heading.
      body: what it says.
    """

    anchor: str
    title: str
    body: Html


def write_page(out: str | os.PathLike, title: str, lead: Any, sections: Sequence[Section], script: str = "") -> None:
    """Writes a page into a file, whole or not at all; see `page`."""
    write_bytes(out, page(title, lead, sections, script).encode())


def page(title: str, lead: Any, sections: Sequence[Section], script: str = "") -> str:
    """Returns a page; the same arguments give the same bytes.

    Args:
      title: of the page.
      lead: what stands above the sections.
      sections: in order; a page of several gets a table of contents.
      script: plain JavaScript, run once the page is there.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"{_POLICY}; script-src 'sha256-{digest}'" if script else _POLICY
    style = resources.files("must_tf.report").joinpath("style.css").read_text()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(style)),
    )
    links = [element("li", element("a", section.title, href=f"#{section.anchor}")) for section in sections]
    contents = element("nav", element("ol", links), aria_label="Contents") if len(sections) > 1 else None
    body = element(
        "body",
        element("header", element("h1", title), lead, contents),
        element("main", [_section(section) for section in sections]),
        element("script", Html(script)) if script else None,
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def tiles(figures: Iterable[tuple[str, Any]]) -> Html:
    """Returns key figures in a row: what each one counts, and its value."""
    return element(
        "dl", [element("div", element("dt", name), element("dd", value)) for name, value in figures], class_="tiles"
    )


def table(
    header: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    caption: Any = None,
    class_: str | None = None,
    tasks: Sequence[str | None] | None = None,
) -> Html:
    """Returns a table that scrolls by itself where the window is narrow; a row's first cell is its heading.

    Args:
      header: the columns' names, or whole `th`.
      rows: their cells, each as `join` takes it or as a whole `td`; a column is aligned as its first cell is.
      caption: what stands above the table.
      class_: for the style sheet.
      tasks: of the rows, for the filter by task; None for a row of all tasks.
    """
    rows = list(rows)
    aligned = rows[0] if rows else [""] * len(header)
    classes = [_NUMBER if str(cell).startswith(f'<td class="{_NUMBER}"') else None for cell in aligned]
    heads = [_head(name, given) for name, given in zip(header, classes, strict=True)]
    body = [row(cells, task) for cells, task in zip(rows, tasks or [None] * len(rows), strict=True)]
    whole = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", heads)),
        element("tbody", body),
        class_=class_,
        style=f"--columns:{len(header)}",
    )
    return element("div", whole, class_="scroll", tabindex=0, role="group", aria_label="Table")


def row(cells: Sequence[Any], task: str | None = None) -> Html:
    """Returns a row of a table; the first cell is its heading."""
    first, *rest = cells
    return element("tr", element("th", first, scope="row"), map(_cell, rest), data_task=task)


def number(content: Any) -> Html:
    """Returns a table's cell with a number in it."""
    return element("td", content, class_=_NUMBER)


def _head(name: Any, class_: str | None) -> Html:
    whole = isinstance(name, Html) and name.startswith("<th")
    return Html(name) if whole else element("th", name, scope="col", class_=class_)


def _cell(value: Any) -> Html:
    return value if isinstance(value, Html) and value.startswith("<td") else element("td", value)


def _section(section: Section) -> Html:
    return element("section", element("h2", section.title), section.body, id=section.anchor)
