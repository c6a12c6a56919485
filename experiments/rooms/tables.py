"""The tables and curves of the replication, out of the JSON files of its stages alone.

    python -m must_tf.experiments.rooms.tables --out=replication --results=experiments/rooms/results/replication

Copies what `replication.py` has made so far (cells of the protocol, scores of teachers and students, minutes) into
--results, and makes there the tables and curves that `must report` draws; without --out it makes them of what is there:

    must report --transfer=results/replication/tables --curves=results/replication/curves --out=report.html \\
        --workdirs=results/replication/runs/must-0 --text=RESULTS.md \\
        --datasets=results/replication/shown/teachers,results/replication/shown/student
"""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.demo import DOWNSTREAM
from must_tf.evaluation.cells import Cell, read_cells, tabulate
from must_tf.experiments.rooms import replication
from must_tf.experiments.rooms.pretraining import BATCH_SIZE, STEPS
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.stages import TIMES

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "", "Folder of the stages.", flag_values=FLAGS)
_RESULTS = flags.DEFINE_string("results", None, "Folder of the JSON files.", flag_values=FLAGS)
flags.mark_flag_as_required("results", flag_values=FLAGS)

TABLES_IN, CURVES_IN = "tables", "curves"
_METRICS = {name: task.main_score.name for name, task in TEACHER_TASKS.items()}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or one that it lacks: what is compared with what."""

    title: str
    inits: tuple[str, ...]
    reference: str
    candidate: str
    note: str = ""


_ONCE = "pre-trained once, fine-tuned with three seeds: the standard error is that of fine-tuning alone."
_OTHERS = f"supervised and must are pre-trained with each seed; the others: {_ONCE}"
TABLES: dict[str, Table] = {
    "table2": Table(
        "Table 2: MuST against supervised and self-supervised pre-training",
        ("random", "supervised", "simclr", "must"),
        "supervised",
        "must",
        "Each seed has its own pre-training. One set of teachers for all. The cost of pre-training is the student's "
        "own, with seed 0: teachers and labeling are not counted.",
    ),
    "table3": Table(
        "Table 3: tasks added one at a time",
        ("supervised", "classification_depth", "classification_depth_segmentation", "must"),
        "supervised",
        "must",
        f"classification_*: {_ONCE}",
    ),
    **{
        f"table4_{task}": Table(
            f"Table 4: the teacher of {task} against the student of its pseudo labels alone",
            ("supervised", f"teacher_{task}", f"student_{task}", "must"),
            f"teacher_{task}",
            f"student_{task}",
            _OTHERS,
        )
        for task in ("detection", "segmentation", "depth")
    },
    "table4_upper": Table(
        "The upper mark: teachers themselves, fine-tuned",
        ("supervised", "must", "teacher_detection", "teacher_segmentation", "teacher_depth"),
        "must",
        "teacher_segmentation",
        f"A teacher saw human labels of its own 4,000 rooms, and no shared image. {_OTHERS}",
    ),
    "table5": Table(
        "Table 5: labeled sets together, and pseudo labels on top",
        ("supervised", "multitask", "multitask_pseudo"),
        "multitask",
        "multitask_pseudo",
        f"supervised is pre-trained with each seed; the others: {_ONCE}",
    ),
    "table6": Table(
        "Table 6: pseudo labels alone, by the number of unlabeled images",
        ("supervised", "pseudo_500", "pseudo_2000", "pseudo_8000"),
        "pseudo_500",
        "pseudo_8000",
        f"64,000 images seen in each. supervised is pre-trained with each seed; the others: {_ONCE}",
    ),
    "table7": Table(
        "Table 7: MuST from the supervised checkpoint",
        ("supervised", "must", "bootstrap"),
        "supervised",
        "bootstrap",
        f"bootstrap: {_ONCE} It starts from supervised-0, the checkpoint of the first seed.",
    ),
    "table8": Table(
        "Beyond the paper: how gradients meet, and how tasks are weighted",
        ("must", "pcgrad", "attittud", "uncertainty"),
        "must",
        "pcgrad",
        f"must: gradients summed, weights by the paper's rule. The others: {_ONCE}",
    ),
}


def collect(out: Path, results: Path) -> None:
    """Copies the files of stages: cells to `cells`, `cells_30`, ...; scores to `held_out`; minutes; a run's curves."""
    for path in sorted(out.glob("*/*/*/*/lr*.json")):
        kind = path.relative_to(out).parts[0].replace("transfer", "cells").replace("few", "cells")
        _copy(path, results / kind / path.relative_to(path.parents[2]))
    for path in sorted(out.glob("held_out/*/*.json")):
        _copy(path, results / path.relative_to(out))
    for path in [*out.glob("runs/must-0/metrics.jsonl"), *out.glob("runs/must-0/config.json"), *out.glob(TIMES)]:
        _copy(path, results / path.relative_to(out))


def _copy(path: Path, place: Path) -> None:
    storage.write_bytes(place, path.read_bytes())


def make(results: Path) -> list[Path]:
    """Makes the tables and curves out of the files of a folder; returns them. What has no cell yet is left out."""
    cells = _read(results / "cells")
    made = _tables(cells, storage.read_json(results / TIMES) if (results / TIMES).exists() else {})
    curves = {"unlabeled": _unlabeled(cells), "few": _few(results, cells), "sizes": _sizes(results)}
    return [_write(results / TABLES_IN / f"{name}.json", table) for name, table in made.items()] + [
        _write(results / CURVES_IN / f"{name}.json", curve) for name, curve in curves.items() if _drawn(curve)
    ]


def _read(folder: Path) -> list[Cell]:
    """Returns the cells of the replication's sweep; others that lie there would spoil the choice of a setting."""
    sweep = set(itertools.product(replication.RATES, replication.SWEPT_STEPS))
    return [cell for cell in read_cells(folder) if (cell.learning_rate, cell.steps) in sweep]


def _write(path: Path, value: Any) -> Path:
    storage.write_json(path, value)
    return path


def _drawn(curve: dict[str, Any]) -> bool:
    return any(panel["lines"] for panel in curve["panels"])


def _tables(cells: Sequence[Cell], minutes: dict[str, float]) -> dict[str, Any]:
    there = {cell.init for cell in cells}
    made = {}
    for name, table in TABLES.items():
        known = there & set(table.inits)
        if not {table.reference, table.candidate} <= known or 2 * len(known) <= len(table.inits):
            continue
        groups = [group for group, inits in replication.GROUPS.items() if set(inits) & set(table.inits)]
        words = (table.title, _command(groups[-1]), table.note)
        cost = {
            init: {"images": STEPS * BATCH_SIZE, "minutes": minutes[f"{init}-0"]}
            for init in table.inits
            if f"{init}-0" in minutes
        }
        row = tabulate(cells, table.inits, table.reference, table.candidate, DOWNSTREAM, *words)
        made[name] = row | {"pretraining": cost}
    return made


def _command(until: str) -> str:
    return f"python -m must_tf.experiments.rooms.replication --out=replication --until={until}"


def _unlabeled(cells: Sequence[Cell]) -> dict[str, Any]:
    """Table 6 as a curve."""
    counts = (500, 2000, 8000)
    panels = []
    for task in DOWNSTREAM:
        points = [_scores(cells, task, f"pseudo_{count}") for count in counts]
        panels.append((task, {"pseudo labels alone": points}))
    return _curve("Transfer by the number of unlabeled images", "unlabeled images", counts, panels, "unlabeled", cells)


def _few(results: Path, cells: Sequence[Cell]) -> dict[str, Any]:
    """Transfer by the number of labeled images downstream."""
    counts = (*replication.FEW, 300)
    by_count = {300: cells}
    for count in replication.FEW:
        folder = results / f"cells_{count}"
        by_count[count] = _read(folder) if folder.exists() else []
    panels = []
    for task in DOWNSTREAM:
        lines = {init: [_scores(by_count[n], task, init) for n in counts] for init in replication.GROUPS["must"]}
        panels.append((task, lines if any(by_count[n] for n in replication.FEW) else {}))
    return _curve("Transfer by the number of labeled images", "labeled images", counts, panels, "few", cells)


def _sizes(results: Path) -> dict[str, Any]:
    """Scores of teachers, of their students and of MuST's on the teachers' own tasks, by input size."""
    panels = []
    for task in replication.TEACHERS:
        lines = {}
        for name, run in replication.judged(task).items():
            paths = [results / "held_out" / task / f"{run}-{size}.json" for size in replication.VIEW_SIZES]
            scores = [storage.read_json(path)["scores"][task] if path.exists() else None for path in paths]
            if any(scores):
                lines[name] = [[score[_METRICS[task]]] if score else None for score in scores]
        panels.append((f"{task}, {_METRICS[task]}", lines))
    title = "On the teachers' own tasks: teacher, its student, MuST; by input size (trained at 96)"
    return _curve(title, "input size in pixels", replication.VIEW_SIZES, panels, "students", ())


def _scores(cells: Sequence[Cell], task: str, init: str) -> list[float] | None:
    """Returns the test scores of the seeds at the chosen setting; None where there is no cell."""
    if not any((cell.task, cell.init) == (task, init) for cell in cells):
        return None
    (row,) = tabulate(cells, (init,), init, init, (task,))["tasks"]
    return [score for score in row["scores"].get(init, ()) if score is not None] or None


def _curve(
    title: str, x: str, values: Sequence[int], panels: Sequence[Any], until: str, cells: Sequence[Cell]
) -> dict[str, Any]:
    metrics = {cell.task: cell.metric for cell in cells}
    drawn = [
        {
            "name": f"{name}, {metrics[name]}" if name in metrics else name,
            "lines": {init: points for init, points in lines.items() if any(points)},
        }
        for name, lines in panels
    ]
    log = max(values) / min(values) > 4
    axis = {"name": x, "values": list(values), "log": log}
    return {"title": title, "command": _command(until), "note": "", "x": axis, "panels": drawn}


def main() -> None:
    """Copies and makes."""
    results = Path(_RESULTS.value)
    if _OUT.value:
        collect(Path(_OUT.value), results)
    for path in make(results):
        print(path)


if __name__ == "__main__":
    app.run("python -m must_tf.experiments.rooms.tables", __doc__, FLAGS, main, sys.argv[1:])
