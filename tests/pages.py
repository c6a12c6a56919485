"""Reads the pages of docs/ and the README: their code blocks, and what they say about how these are tested.

A page says in comments, which a reader does not see:

    <!-- starts with: photos, run -->     what lies in the folder in which its blocks run, see `conftest.py`
    <!-- quick: OLD => NEW -->            what is replaced in all its blocks, so that they take seconds
    <!-- not run: why -->                 before a block that is not run here

Blocks run in their order, all blocks of a page in one folder. A block with a title becomes the file of that name.
"""

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r'(?:<!-- not run: (?P<why>[^\n]+?) -->\n)?^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_RUN = ("bash", "python", "yaml")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block: its language, its text as a reader sees it, the file that it is, and why it is not run."""

    language: str
    text: str
    title: str
    why: str


def pages() -> list[Path]:
    """Returns all pages with blocks of a language that can be run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if blocks(page)]


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of a page in a language that can be run."""
    return [
        Block(found["language"], found["text"], found["title"] or "", found["why"] or "")
        for found in _BLOCK.finditer(page.read_text())
        if found["language"] in _RUN
    ]


def starts_with(page: Path) -> list[str]:
    """Returns the names of what lies in the page's folder."""
    found = re.search(r"<!-- starts with: (.+?) -->", page.read_text())
    return found[1].split(", ") if found else []


def quick(page: Path, text: str) -> str:
    """Returns the text of a block as it is run."""
    for old, new in re.findall(r"<!-- quick: (.+?) => (.*?) -->", page.read_text()):
        text = text.replace(old, new)
    return text


def commands(text: str) -> list[str]:
    """Returns the lines of a script, those that end with a backslash joined with the next, without comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
