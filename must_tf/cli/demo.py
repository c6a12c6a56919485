"""All of MuST on the embedded rooms: render, train teachers, label, train the student, export, fine-tune, compare.

Prints the transfer table and writes OUT/report.html. A killed demo is taken up by the same command.
"""

from pathlib import Path

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "demo", "Folder of the demo.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on images and steps; 1 is about 12 minutes on two cores.", 1e-3, flag_values=FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of rooms, weights and order.", 0, flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer("processes", None, "Stages at once; the cores by default.", 1, flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must demo`."""
    app.run("must demo", __doc__, FLAGS, main, argv)


def main() -> None:
    """Runs the stages, prints the table, writes the page."""
    from must_tf.cli import demo_stages
    from must_tf.report import report, transfer_table

    out = Path(_OUT.value)
    table = demo_stages.run(out, _SCALE.value, _SEED.value, _PROCESSES.value)
    labeled = [out / "data" / "labeled" / name for name in ("classification", "unlabeled")]
    runs = [out / "runs" / name for name in (*(f"teacher_{task}" for task in demo_stages.TEACHERS), "student")]
    report(out / "report.html", labeled, runs, out / "runs" / "student", [out / "transfer.json"], title="MuST on rooms")
    print(transfer_table(table))
    print(f"{out / 'report.html'}: the page")
