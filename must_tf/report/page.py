"""Writes an HTML page of sections: one file that needs nothing from outside."""

import base64
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from must_tf.report.markup import Html, element, join
from must_tf.storage import write_bytes

# A browser that honors it could not fetch anything even if the page asked for it, nor run a script but the page's own.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

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
    """Writes a page, whole or not at all; the same arguments give the same bytes.

    Args:
      out: the file.
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
    write_bytes(out, f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode())


def tiles(figures: Iterable[tuple[str, Any]]) -> Html:
    """Returns key figures in a row: what each one counts, and its value."""
    return element(
        "dl", [element("div", element("dt", name), element("dd", value)) for name, value in figures], class_="tiles"
    )


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], caption: Any = None, class_: str | None = None) -> Html:
    """Returns a table that scrolls by itself where the window is narrow; a row's first cell is its heading.

    Args:
      header: the columns' names.
      rows: their cells, each as `join` takes it or as a whole `td`; a column is aligned as its first cell is.
      caption: what stands above the table.
      class_: for the style sheet.
    """
    cells = [[element("th", first, scope="row"), *map(_cell, rest)] for first, *rest in rows]
    aligned = cells[0] if cells else [""] * len(header)
    classes = [_NUMBER if cell.startswith(f'<td class="{_NUMBER}"') else None for cell in aligned]
    heads = [element("th", name, scope="col", class_=given) for name, given in zip(header, classes, strict=True)]
    whole = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", heads)),
        element("tbody", [element("tr", row) for row in cells]),
        class_=class_,
        style=f"--columns:{len(header)}",
    )
    return element("div", whole, class_="scroll")


def number(content: Any) -> Html:
    """Returns a table's cell with a number in it."""
    return element("td", content, class_=_NUMBER)


def _cell(value: Any) -> Html:
    return value if isinstance(value, Html) and value.startswith("<td") else element("td", value)


def _section(section: Section) -> Html:
    heading = element("h2", section.title, id=f"{section.anchor}-title")
    body = join(heading, section.body)
    return element("section", body, id=section.anchor, aria_labelledby=f"{section.anchor}-title")
