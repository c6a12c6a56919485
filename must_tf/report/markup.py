"""HTML elements as values: text is always escaped and markup never, so that no caller has to care."""

import html
from collections.abc import Iterable
from typing import Any

_VOID = {"br", "img", "input", "link", "meta"}


class Html(str):
    """Markup, as opposed to text."""


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """Returns one element of HTML or SVG.

    Args:
      tag: its name.
      children: as `join` takes them.
      attributes: by name, `class_` for `class` and `text_anchor` for `text-anchor`; None leaves one out.
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    opening = " ".join([tag, *(f'{name}="{html.escape(_text(value))}"' for name, value in given.items())])
    return Html(f"<{opening}>" if tag in _VOID else f"<{opening}>{join(*children)}</{tag}>")


def join(*children: Any) -> Html:
    """Concatenates markup, text, numbers and iterables of them; None adds nothing."""
    return Html("".join(_render(child) for child in children))


def _render(child: Any) -> str:
    if child is None or isinstance(child, Html):
        return child or ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return join(*child)
    return html.escape(_text(child))


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
