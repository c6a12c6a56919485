"""The demo with several seeds: in how many is MuST ahead of pre-training on human classes, and by how much?

    python -m must_tf.experiments.rooms.demo_seeds --seeds=10,11,12 --out=demos

Each seed is a whole `must demo`, with rooms, teachers, a student and fine-tunings of its own; none is left out. The
command prints the table over all of them and writes it to OUT/demo_seeds.json. The same command resumes a run that was
stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from must_tf.cli import app, demo_stages
from must_tf.evaluation import TransferTable
from must_tf.report import transfer_table
from must_tf.storage import write_json

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "demos", "Folder with one demo for each seed.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_list("seeds", [str(seed) for seed in range(10, 20)], "Seeds of the demos.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the numbers of images and steps.", 1e-3, flag_values=FLAGS)

TABLE = "demo_seeds.json"


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.rooms.demo_seeds"
    app.run(program, __doc__, FLAGS, lambda: main(Path(_OUT.value), app.numbers(_SEEDS, int, 0), _SCALE.value), argv)


def main(out: Path, seeds: Sequence[int], scale: float) -> None:
    """Runs the demos, prints the table over all of them, and writes it as JSON."""
    demos = [out / f"seed-{seed}" for seed in seeds]
    for seed, demo in zip(seeds, demos, strict=True):
        demo_stages.run(demo, scale, seed)
    chosen = f"--scale={scale:g} --seeds={','.join(map(str, seeds))}"
    table = demo_stages.gather(demos, f"python -m must_tf.experiments.rooms.demo_seeds {chosen}")
    write_json(out / TABLE, table.to_json())
    print(transfer_table(table))
    print(count(table))
    print(f"{out / TABLE}: the same as JSON")


def count(table: TransferTable) -> str:
    """Returns a line that says in how many seeds the candidate's mean is above that of the reference."""
    means = zip(*(table.average.of(init) for init in (table.candidate, table.reference)), strict=True)
    ahead = sum(ours > theirs for ours, theirs in means if ours is not None and theirs is not None)
    return f"{table.candidate} is ahead of {table.reference} in the mean in {ahead} of {len(table.seeds)} demos"


if __name__ == "__main__":
    run(sys.argv[1:])
