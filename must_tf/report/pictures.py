"""Labels drawn beside their images, at a size at which a person can read them."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
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

Address = Callable[[str, bytes], str]  # of `png` or `jpeg` and a picture's bytes, where the page finds it


def spread(dataset: Dataset, count: int) -> list[Record]:
    """Returns up to `count` records at even distances over a dataset; those that cannot be read are left out."""
    wanted, records, start = even(dataset.manifest.count, count), [], 0
    for shard, size in enumerate(dataset.manifest.shards.counts.tolist()):
        for index in wanted[(wanted >= start) & (wanted < start + size)] - start:
            try:
                for serialized in framing.read_all([dataset.path(shard)]).skip(index).take(1):
                    record = deserialize(serialized.numpy(), dataset.manifest.tasks)
                    tf.io.decode_image(record.encoded)
                    records.append(record)
            except (tf.errors.OpError, UnicodeDecodeError):  # TensorFlow's message may be no UTF-8
                continue  # the verification names it
        start += size
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
    heads = [
        element("th", task.name, kind, scope="col", data_task=task.name)
        for task, kind in zip(tasks, kinds, strict=True)
    ]
    return table(["image", *heads], rows, caption, class_="pictures")


def encode(image: np.ndarray, photograph: bool) -> tuple[str, bytes]:
    """Returns an image as a JPEG if it is a photograph; a drawing as a PNG, or a fine JPEG if that is smaller."""
    if photograph:
        return "jpeg", _encode(image, "JPEG", quality=88)
    png, jpeg = _encode(image, "PNG"), _encode(image, "JPEG", quality=92, subsampling=0)
    return ("png", png) if len(png) <= len(jpeg) else ("jpeg", jpeg)


def data_uri(kind: str, encoded: bytes) -> str:
    """Returns a picture as a `data:` address, which needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _encode(image: np.ndarray, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


def picture_row(record: Record, tasks: Sequence[Task], address: Address = data_uri) -> list[Html]:
    """Returns the cells of an image and its drawn labels."""
    image, labels = scale(record, tasks)
    size = f"{record.width} × {record.height}"
    source = address(*encode(image, True))
    cells = [_figure(source, image, f"image {record.id}, {size} pixels", None, size)]
    for task in tasks:
        if task.name in labels:
            origin = record.origins[task.name]
            drawn = task.draw(image, labels[task.name])
            alt = f"{task.kind} label of task {task.name} by {origin} on image {record.id}"
            figure = _figure(address(*encode(drawn, False)), drawn, alt, task.name, origin)
            cells.append(element("td", figure, data_task=task.name))
        else:
            absent = element("p", f"no label of {task.name}")
            cells.append(element("td", absent, class_="absent", data_task=task.name))
    return cells


def _figure(source: str, image: np.ndarray, alt: str, task: str | None, note: str) -> Html:
    height, width = image.shape[:2]
    picture = element("img", src=source, alt=alt, width=width, height=height)
    name = element("b", task, " ", class_="narrow") if task else None
    return element("figure", picture, element("figcaption", name, note))
