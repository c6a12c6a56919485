"""Draws the figure of labels that go out, are corrected and come back, on rendered rooms.

    python docs/correction_figure.py        # writes docs/images/correction.webp

The steps are done: records with the labels of a made-up detector go out as Label Studio's tasks, one of them is
submitted with the true boxes, and the export is merged into the records. Each picture shows what the step left.
"""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from must_tf.convert import Selection, convert
from must_tf.labeling import label
from must_tf.records import HUMAN, Plan, Record, finish, open_dataset, pending, write_shard
from must_tf.sources.rooms.dataset import TEACHER_TASKS, to_record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import WORLDS
from must_tf.tasks import drawing

OUT = Path(__file__).parent / "images" / "correction.webp"
TASK = TEACHER_TASKS["detection"]
ROOMS = (3, 8)  # the first one is corrected
SIDE, GAP, TOP = 256, 40, 84  # pixels
STEPS = (
    ("must label", "a teacher makes labels"),
    ("must convert", "they go out, with scores"),
    ("Label Studio", "a person corrects one image"),
    ("must label --merge", "and they come back"),
)
RED, INK = (200, 40, 40), (27, 27, 27)


def main() -> None:
    """Writes the figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = [to_record(render(WORLDS["detection"], 1, index, SIDE), (TASK,)) for index in ROOMS]
        truth = {record.id: record.labels[TASK.name] for record in records}
        _store(folder / "data", records)
        label(folder / "data", (), folder / "labeled")
        convert(folder / "labeled", "labelstudio", folder / "out", Selection(), "none")
        tasks = json.loads((folder / "out" / "tasks.json").read_text())
        submitted = [_submitted(tasks[0], truth), tasks[1]]
        (folder / "out" / "export.json").write_text(json.dumps(submitted))
        label(folder / "labeled", (), folder / "merged", merge=[f"labelstudio:{folder / 'out' / 'export.json'}"])
        before, after = (list(open_dataset(folder / part).records()) for part in ("labeled", "merged"))
        columns = [
            [_drawn(record) for record in before],
            [_results(record, task["predictions"][0]["result"]) for record, task in zip(before, tasks, strict=True)],
            [_results(before[0], submitted[0]["annotations"][0]["result"], tasks[0]["predictions"][0]["result"]), None],
            [_drawn(record) for record in after],
        ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    _sheet(columns).save(OUT, quality=80, method=6)


def _store(folder: Path, records: list[Record]) -> None:
    """Writes records with the labels of a detector: one box is missing, one is elsewhere, one has another class."""
    for record in records:
        boxes, classes = (record.labels[TASK.name][key].copy() for key in ("boxes", "classes"))
        boxes[0] = np.clip(boxes[0] + [0.1, 0.12, 0.1, 0.12], 0, 1)
        classes[-1] = (classes[-1] + 3) % TASK.num_classes
        kept = np.arange(len(classes)) != 1
        scores = np.linspace(0.55, 0.9, len(classes))
        found = {"boxes": boxes, "classes": classes, "scores": scores}
        record.labels[TASK.name] = {key: values[kept] for key, values in found.items()}
        record.origins[TASK.name] = "detector"
        record.filename = f"{record.id}.jpg"
    plan = Plan(folder, "rooms", "train", (TASK,), 1, {"images": "rendered"})
    for index in pending(plan):
        write_shard(plan, index, records)
    finish(plan, {"detector": {"path": "made up"}})


def _submitted(task: dict, truth: dict) -> dict:
    """Returns a task with the annotation of a person: the true boxes."""
    common = {key: value for key, value in task["predictions"][0]["result"][0].items() if key not in ("value", "score")}
    label = truth[task["data"]["image_id"]]
    results = []
    for (ymin, xmin, ymax, xmax), cls in zip((label["boxes"] * 100).tolist(), label["classes"], strict=True):
        place = {"x": xmin, "y": ymin, "width": xmax - xmin, "height": ymax - ymin, "rotation": 0}
        results.append(common | {"value": place | {"rectanglelabels": [TASK.class_names[cls]]}})
    return task | {"annotations": [{"result": results, "was_cancelled": False}]}


def _pixels(record: Record) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(record.encoded)))


def _drawn(record: Record) -> Image.Image:
    """Returns the label of a record, and who made it."""
    picture = TASK.draw(_pixels(record), record.labels[TASK.name])
    origin = record.origins[TASK.name]
    return Image.fromarray(drawing.caption(picture, f"by {'people' if origin == HUMAN else origin}"))


def _results(record: Record, results: list[dict], before: list[dict] = ()) -> Image.Image:
    """Returns results of Label Studio, with scores; those of before that are no more are crossed out in red."""
    values = [one["value"] for one in results]
    gone = [one["value"] for one in before if not any(_same(one["value"], value) for value in values)]
    boxes, classes = _boxes(values)
    names = list(TASK.class_names)
    for cls, one in zip(classes, results, strict=True):
        names[cls] += f" {one['score']:.2f}" if "score" in one else ""
    picture = Image.fromarray(drawing.boxes(_pixels(record), boxes, classes, names))
    draw = ImageDraw.Draw(picture)
    for ymin, xmin, ymax, xmax in _boxes(gone)[0] * (SIDE - 1):
        draw.rectangle([xmin, ymin, xmax, ymax], outline=RED)
        draw.line([xmin, ymin, xmax, ymax], fill=RED)
        draw.line([xmin, ymax, xmax, ymin], fill=RED)
    return picture


def _same(one: dict, other: dict) -> bool:
    places = ([value[key] for key in ("x", "y", "width", "height")] for value in (one, other))
    return one["rectanglelabels"] == other["rectanglelabels"] and bool(np.allclose(*places, atol=0.01))


def _boxes(values: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes in fractions and their classes."""
    rows = [(one["y"], one["x"], one["y"] + one["height"], one["x"] + one["width"]) for one in values]
    classes = [TASK.class_names.index(one["rectanglelabels"][0]) for one in values]
    return np.array(rows, float).reshape(-1, 4) / 100, np.array(classes, int)


def _sheet(columns: list[list[Image.Image | None]]) -> Image.Image:
    """Puts the columns side by side, with the name of each step above, and arrows between."""
    width = len(columns) * SIDE + (len(columns) + 1) * GAP
    sheet = Image.new("RGB", (width, TOP + 2 * (SIDE + GAP // 2)), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(24), ImageFont.load_default(17)
    for index, (column, (title, words)) in enumerate(zip(columns, STEPS, strict=True)):
        left = GAP + index * (SIDE + GAP)
        draw.text((left + SIDE / 2, 28), title, fill=INK, font=large, anchor="mm")
        draw.text((left + SIDE / 2, 60), words, fill=INK, font=small, anchor="mm")
        for row, picture in enumerate(column):
            top = TOP + row * (SIDE + GAP // 2)
            if picture is None:
                draw.text((left + SIDE / 2, top + SIDE / 2), "not looked at", fill=INK, font=small, anchor="mm")
            else:
                sheet.paste(picture, (left, top))
            if index:
                middle = top + SIDE / 2
                draw.polygon(
                    [(left - 26, middle - 9), (left - 26, middle + 9), (left - 12, middle)], fill=(0, 121, 107)
                )
    return sheet


if __name__ == "__main__":
    main()
