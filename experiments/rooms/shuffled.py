"""Gives the labels of teachers to other images: a control whose student learns nothing from them.

    python -m must_tf.experiments.rooms.shuffled --records=data/labeled/shared --out=data/labeled/shuffled

What teachers said of an image moves, all tasks together, to another image drawn at random; no image keeps its own. So
the labels are as many and as alike as before. Human labels stay. All images must have one size.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags

from must_tf.cli import app
from must_tf.errors import UserError
from must_tf.records import HUMAN, Manifest, Plan, Record, finish, open_dataset, pending, write_shard
from must_tf.storage import locked

FLAGS = flags.FlagValues()
_RECORDS = flags.DEFINE_string("records", None, "Folder of labeled records.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draw.", 0, flag_values=FLAGS)
flags.mark_flags_as_required(["records", "out"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.shuffled", __doc__, FLAGS, main, argv)


def main() -> None:
    """Writes the records."""
    manifest = shuffle(_RECORDS.value, _OUT.value, _SEED.value)
    print(f"{_OUT.value}: {manifest.shards.counts.sum()} images with the labels of others")


def shuffle(records: str, out: str, seed: int = 0) -> Manifest:
    """Writes records whose pseudo labels are those of other images; returns their manifest.

    Args:
      records: folder of the labeled records.
      out: folder to write, with as many shards; a second call goes on where the first one stopped.
      seed: of the draw.

    Raises:
      UserError: fewer than two images, or images of several sizes.
    """
    dataset = open_dataset(records)
    manifest = dataset.manifest
    places = list(dataset.places())
    if len(places) < 2:
        raise UserError(f"{records}: has {len(places)} images; to exchange labels takes two or more")
    ring = np.random.default_rng(seed).permutation(len(places))
    giver = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
    source = {"shuffled": manifest.source, "seed": seed}
    source |= {name: manifest.source[name] for name in ("license",) if name in manifest.source}
    plan = Plan(Path(out), manifest.name, manifest.split, manifest.tasks, len(manifest.shards), source)

    def of_shard(index: int) -> Iterator[Record]:
        for number, place in enumerate(places):
            if place.shard == index:
                yield _with_labels_of(dataset.read(place), dataset.read(places[giver[number]]), records)

    with locked(plan.folder):
        for index in pending(plan):
            write_shard(plan, index, of_shard(index))
        return finish(plan, manifest.teachers)


def _with_labels_of(record: Record, other: Record, records: str) -> Record:
    if (record.height, record.width) != (other.height, other.width):
        sizes = f"{record.height}x{record.width} and {other.height}x{other.width}"
        raise UserError(
            f"{records}: images of {sizes} pixels; labels can be exchanged between images of one size alone"
        )
    for mine in (record.labels, record.origins):
        for task in [task for task, origin in record.origins.items() if origin != HUMAN]:
            mine.pop(task)
    for task, origin in other.origins.items():
        if origin != HUMAN and task not in record.origins:
            record.labels[task], record.origins[task] = other.labels[task], origin
    return record


if __name__ == "__main__":
    run(sys.argv[1:])
