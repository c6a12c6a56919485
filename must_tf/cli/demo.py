"""Runs all of MuST on rendered rooms: renders them, trains teachers, labels, trains a student, exports, compares.

It prints the transfer table and writes OUT/report.html. The same command continues a killed demo.

    must demo --out=demo
"""

from pathlib import Path

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "demo", "Folder for everything that the demo writes.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float(
    "scale",
    1.0,
    "Factor on the numbers of images and steps; 1 takes 12 to 40 minutes on two cores, by their speed.",
    1e-3,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of rooms, weights and order of images.", 0, flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "How many stages run at once; by default one per core.", 1, flag_values=FLAGS
)


def run(argv: list[str]) -> None:
    """Runs `must demo`."""
    app.run("must demo", __doc__, FLAGS, main, argv)


def main() -> None:
    """Runs the stages, prints the table, writes the page."""
    from must_tf.cli import demo_stages
    from must_tf.report import report, transfer_table

    out = Path(_OUT.value)
    table = demo_stages.run(out, _SCALE.value, _SEED.value, _PROCESSES.value)
    labeled = [out / "data" / "labeled" / name for name in demo_stages.LABELED]
    runs = [out / "runs" / name for name in (*(f"teacher_{task}" for task in demo_stages.TEACHERS), "student")]
    report(out / "report.html", labeled, runs, out / "runs" / "student", [out / "transfer.json"], title="MuST on rooms")
    print(transfer_table(table))
    print(f"{out / 'report.html'}: the page")
