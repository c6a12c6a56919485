"""What 300 million photographs cost: python -m must_tf.experiments.labeling.costs --prices=FILE.yaml.

Prints what `must label --plan` and `must train --plan` say of them, with a file of prices. Labeling is measured on this
machine, on a few photographs and with a random MobileNetV2. Training is computed, for one pass of a ResNet-50 over the
records: from a manifest of as many shards as there would be, of 1,000 photographs each, whose files are not there.
"""

import sys
import tempfile
from pathlib import Path

import tf_keras
from absl import flags

from must_tf.cli import app
from must_tf.errors import UserError
from must_tf.experiments.labeling.benchmark import save
from must_tf.experiments.labeling.measure import BATCH, photographs
from must_tf.labeling import Estimate, estimate
from must_tf.pricing import LABEL, Prices, bill, priced
from must_tf.records import Manifest, Shard, Shards
from must_tf.sources import open_source
from must_tf.tasks import Task
from must_tf.training import Experiment, Optimizer, plan
from must_tf.trunk import Trunk

FLAGS = flags.FlagValues()
_PRICES = flags.DEFINE_string("prices", None, "FILE.yaml with prices.", flag_values=FLAGS)
_IMAGES = flags.DEFINE_integer("images", 300_000_000, "Number of photographs.", 1000, flag_values=FLAGS)

PER_SHARD, MEASURED = 1000, 5 * BATCH
ACCELERATOR, ACCELERATORS, BATCH_SIZE = "a100", (8, 64, 256), 4096
CACHE_GB = 1000.0


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.labeling.costs", __doc__, FLAGS, main, argv)


def main() -> None:
    """Measures, computes and prints."""
    if not _PRICES.value:
        raise UserError("--prices: not given; expected a file of prices, such as experiments/labeling/prices.yaml")
    prices = priced(_PRICES.value, LABEL)
    priced(_PRICES.value, ACCELERATOR)
    with tempfile.TemporaryDirectory() as folder:
        found, task = labeled(Path(folder))
        print(f"label\n  {found}\n{bill(found.usage(), prices)}")
        trained(Path(folder), found, task, prices)


def labeled(folder: Path) -> tuple[Estimate, Task]:
    """Returns what labeling takes, and the task of the labels."""
    photographs(folder / "photos", MEASURED)
    teacher = save(tf_keras.applications.MobileNetV2(weights=None), folder / "model")
    found = estimate(open_source(str(folder / "photos")), [teacher], [teacher.task], BATCH)
    return found.of(_IMAGES.value, PER_SHARD), teacher.task


def trained(folder: Path, found: Estimate, task: Task, prices: Prices) -> None:
    """Prints what one pass over the records takes."""
    shards = Shards(
        Shard(f"photos-train.tfrecord-{i}", PER_SHARD, round(found.size / found.shards), "", {})
        for i in range(found.shards)
    )
    Manifest("photos", "train", (task,), {}, {}, shards).write(folder / "records")
    steps = _IMAGES.value // BATCH_SIZE
    experiment = Experiment(
        tasks=(task,), train=(str(folder / "records"),), trunk=Trunk("resnet-50"), input_size=(224, 224),
        steps=steps, batch_size=BATCH_SIZE, optimizer=Optimizer("sgd", 0.1), policy="mixed_bfloat16",
    )  # fmt: skip
    forecast = plan(experiment, ACCELERATORS, ACCELERATOR)
    print(f"train\n{forecast}")
    for row in forecast.rows:
        print(f"{row.accelerators} of {ACCELERATOR}\n{bill(forecast.usage(row, CACHE_GB), prices)}")


if __name__ == "__main__":
    run(sys.argv[1:])
