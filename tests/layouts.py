"""Helpers for tests of layouts: write image files and label maps, and read all entries of a source."""

import io
from pathlib import Path

import numpy as np
import toy
from PIL import Image

from must_tf.records import Quarantined, Record
from must_tf.records.schema import deserialize, serialize
from must_tf.sources import open_source


def write_jpeg(path, height, width, seed=0):
    """Writes a JPEG of noise."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(toy.random_image(np.random.default_rng(seed), height, width)).save(buffer, "JPEG")
    Path(path).write_bytes(buffer.getvalue())


def write_png(path, values, palette=False):
    """Writes a map as a PNG: of gray or RGB values, or of a palette's indices."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        image = image.convert("P") if image.mode != "L" else image
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        assert image.mode == "P"
    image.save(path)


def entries(where, images_per_shard=2, **options):
    """Opens a source; returns its task, its records by file name, and its quarantined entries."""
    source = open_source(where, images_per_shard, **options)
    (task,) = source.tasks
    found = [entry for shard in source.shards for entry in shard()]
    assert len(found) == source.count
    records = {Path(entry.name).name: entry for entry in found if isinstance(entry, Record)}
    for record in records.values():  # every record can be written and read again
        again = deserialize(serialize(record, [task]), [task])
        assert again.origins in ({task.name: "human"}, {})
    return task, records, [entry for entry in found if isinstance(entry, Quarantined)]
