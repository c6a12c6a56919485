"""Draws the figure of the README: images, teachers, student, your task; with real labels of rendered rooms.

    python docs/figure.py        # writes docs/images/loop.svg

The labels are those of the teachers and of the student of `experiments/rooms`, on a room that none of them has seen.
The last column has labels of downstream tasks, on rooms whose categories and textures no teacher knew.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from must_tf.records import open_dataset
from must_tf.report import pictures
from must_tf.report.markup import Html, element, join
from must_tf.sources.rooms.dataset import make_rooms

ROOT = Path(__file__).parents[1]
SHOWN = ROOT / "experiments" / "rooms" / "results" / "replication" / "shown"
OUT = ROOT / "docs" / "images" / "loop.svg"
ROOM, OTHERS = 0, (1, 2)  # of the rooms that are shown
KINDS = ("detection", "segmentation", "depth")
DOWNSTREAM = ("segmentation_a", "detection", "normals")
SIDE, GAP, TOP, LEFT = 138, 48, 92, 12  # pixels
COLUMNS = (
    ("Images", "without labels"),
    ("Teachers", "label them"),
    ("Student", "learns all tasks"),
    ("Your task", "starts from it"),
)
_STEP = SIDE + GAP


def main() -> None:
    """Writes the figure."""
    size = {"width": LEFT * 2 + 4 * SIDE + 3 * GAP, "height": TOP + 3 * SIDE + 2 * 14 + 16}
    columns = [_images(), _labels(SHOWN / "teachers"), _labels(SHOWN / "student"), _downstream()]
    parts = [element("rect", width="100%", height="100%", fill="#ffffff", rx="6")]
    for index, (column, words) in enumerate(zip(columns, COLUMNS, strict=True)):
        parts += _column(LEFT + index * _STEP, column, *words)
        parts += [_arrow(LEFT + index * _STEP + SIDE)] if index < 3 else []
    alt = "Images without labels go to teachers, whose labels train one student. Its backbone starts your own task."
    box = f"0 0 {size['width']} {size['height']}"
    style = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
    figure = element("svg", element("title", alt), *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, style=style)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(f"{figure}\n")


def _column(x: int, column: list[np.ndarray], title: str, words: str) -> Iterator[Html]:
    middle = str(x + SIDE / 2)
    yield element(
        "text", title, x=middle, y="40", text_anchor="middle", font_size="27", font_weight="700", fill="#1b1b1b"
    )
    yield element("text", words, x=middle, y="68", text_anchor="middle", font_size="19", fill="#3d3d3d")
    for row, picture in enumerate(column):
        large = np.asarray(Image.fromarray(picture).resize((2 * SIDE, 2 * SIDE)))
        uri = pictures.data_uri(*pictures.encode(large, True))
        yield element("image", href=uri, x=str(x), y=str(TOP + row * (SIDE + 14)), width=str(SIDE), height=str(SIDE))


def _arrow(x: int) -> Html:
    y = TOP + 1.5 * SIDE + 14
    line = element("path", d=f"M{x + 8} {y}H{x + GAP - 18}", stroke="#00796b", stroke_width="5")
    return join(line, element("path", d=f"M{x + GAP - 20} {y - 12}l14 12l-14 12z", fill="#00796b"))


def _images() -> list[np.ndarray]:
    records = pictures.spread(open_dataset(SHOWN / "teachers"), 6)
    return [pictures.scale(records[index], ())[0] for index in (ROOM, *OTHERS)]


def _labels(folder: Path) -> list[np.ndarray]:
    """Returns the labels of one room, drawn, one per kind."""
    dataset = open_dataset(folder)
    record = pictures.spread(dataset, 6)[ROOM]
    tasks = {task.kind: task for task in dataset.manifest.tasks}
    image, labels = pictures.scale(record, dataset.manifest.tasks)
    return [tasks[kind].draw(image, labels[tasks[kind].name]) for kind in KINDS]


def _downstream() -> list[np.ndarray]:
    """Returns labels of downstream tasks, drawn, on the first room of each."""
    drawn = []
    with tempfile.TemporaryDirectory() as folder:
        for name in DOWNSTREAM:
            make_rooms(f"downstream_{name}/train", folder, 96, 1, 0, 1)
            dataset = open_dataset(Path(folder, f"downstream_{name}", "train"))
            image, labels = pictures.scale(pictures.spread(dataset, 1)[0], dataset.manifest.tasks)
            (task,) = dataset.manifest.tasks
            drawn.append(task.draw(image, labels[task.name]))
    return drawn


if __name__ == "__main__":
    main()
