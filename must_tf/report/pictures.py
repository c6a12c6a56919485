"""Labels drawn beside their images, at a size at which a person can read them."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf.geometry import move_image, stretch
from must_tf.records import Dataset, Record, deserialize, framing, parse, serialize
from must_tf.report.markup import Html, element
from must_tf.report.page import table
from must_tf.tasks import Task
from must_tf.tasks.task import Label

SIDE = 320  # pixels of a picture's longer side


def spread(dataset: Dataset, count: int) -> list[Record]:
    """Returns up to `count` records at even distances over a dataset; those that cannot be read are left out."""
    wanted, records, start = even(dataset.manifest.count, count), [], 0
    for path, shard in zip(dataset.paths, dataset.manifest.shards, strict=True):
        for index in wanted[(wanted >= start) & (wanted < start + shard.count)] - start:
            try:
                for serialized in framing.read_all([path]).skip(index).take(1):
                    records.append(deserialize(serialized.numpy(), dataset.manifest.tasks))
                    tf.io.decode_image(records[-1].encoded)
            except (tf.errors.OpError, UnicodeDecodeError):  # TensorFlow's message may be no UTF-8
                continue  # the verification names it
        start += shard.count
    return records


def even(total: int, count: int) -> np.ndarray:
    """Returns up to `count` of the numbers below `total`, at even distances, int [N]."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))


def scale(record: Record, tasks: Sequence[Task]) -> tuple[np.ndarray, dict[str, Label]]:
    """Brings a record to the size of a picture.

    It is resized as a training example is, so that every kind of label moves by its own rules.

    Returns:
      The image, uint8 [H, W, 3], and the label of each task that has one.
    """
    parsed = parse(serialize(record, tasks), tasks)
    size = np.array(parsed["image"].shape[:2])
    height, width = (int(n) for n in np.maximum(np.rint(size * SIDE / size.max()), 1))
    geometry = stretch(size, (height, width))
    image = tf.saturate_cast(tf.round(move_image(parsed["image"], geometry)), tf.uint8).numpy()
    labels = {}
    for task in tasks:
        if task.name in record.labels:
            target = task.transform(parsed["targets"][task.name], geometry)
            labels[task.name] = task.label({key: value.numpy() for key, value in target.items()})
    return image, {name: label for name, label in labels.items() if label is not None}


def picture_table(records: Iterable[Record], tasks: Sequence[Task], caption: str) -> Html:
    """Returns a table with one row per image: the image, then the drawn label of each task with its origin."""
    return rows_table((picture_row(record, tasks) for record in records), tasks, caption)


def rows_table(rows: Iterable[list[Html]], tasks: Sequence[Task], caption: str) -> Html:
    """Returns the table of rows of `picture_row`."""
    kinds = [[element("small", task.kind)] if task.kind != task.name else [] for task in tasks]
    header = ["image", *([task.name, *kind] for task, kind in zip(tasks, kinds, strict=True))]
    return table(header, rows, caption, class_="pictures")


def data_uri(image: np.ndarray, photograph: bool) -> str:
    """Returns an image as a `data:` address: a JPEG of a photograph; of a drawing a PNG, or a fine JPEG if smaller."""
    if photograph:
        kind, encoded = "jpeg", _encode(image, "JPEG", quality=88)
    else:
        png, jpeg = _encode(image, "PNG"), _encode(image, "JPEG", quality=92, subsampling=0)
        kind, encoded = ("png", png) if len(png) <= len(jpeg) else ("jpeg", jpeg)
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _encode(image: np.ndarray, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


def picture_row(record: Record, tasks: Sequence[Task], found: str | None = None) -> list[Html]:
    """Returns the cells of an image and its drawn labels; a script finds the image by `found`."""
    image, labels = scale(record, tasks)
    size = f"{record.width} × {record.height}"
    cells = [_figure(image, True, f"image {record.id}, {size} pixels", None, size, found)]
    for task in tasks:
        if task.name in labels:
            origin = record.origins[task.name]
            drawn = task.draw(image, labels[task.name])
            alt = f"{task.kind} label of task {task.name} by {origin} on image {record.id}"
            cells.append(element("td", _figure(drawn, False, alt, task.name, origin)))
        else:
            cells.append(element("td", element("p", f"no label of {task.name}"), class_="absent"))
    return cells


def _figure(
    image: np.ndarray, photograph: bool, alt: str, task: str | None, note: str, found: str | None = None
) -> Html:
    height, width = image.shape[:2]
    picture = element("img", src=data_uri(image, photograph), alt=alt, width=width, height=height, loading="lazy")
    name = element("b", task, " ", class_="narrow") if task else None
    return element("figure", picture, element("figcaption", name, note), data_labels=found)
