"""The tables and curves of the replication, made from the JSON files of its stages alone.

    python -m must_tf.experiments.rooms.tables --out=replication --results=experiments/rooms/results/replication

Gathers what `replication.py` has made so far (cells of the protocol, scores of teachers and students, minutes) into
--results, and makes there the tables and curves that `must report` draws. Without --out it makes them of what is there:

    must report --transfer=results/replication/tables --curves=results/replication/curves --out=report.html \\
        --workdirs=results/replication/runs/must-0 --text=TABLES.md \\
        --datasets=results/replication/shown/teachers,results/replication/shown/student
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from must_tf.cli import app
from must_tf.cli.demo_stages import DOWNSTREAM
from must_tf.cli.stages import TIMES
from must_tf.evaluation.cells import Cell, read_cells
from must_tf.evaluation.lines import Axis, Lines, Panel
from must_tf.evaluation.table import Budget, Cost, TransferTable
from must_tf.experiments.rooms import replication
from must_tf.experiments.rooms.pretraining import FEWER, RECIPE, RUNS
from must_tf.experiments.tables import (
    CURVES_IN,
    TABLES_IN,
    Table,
    gather_cells,
    known_lines,
    make_table,
    panel,
    scores,
    write_made,
)
from must_tf.parsing import read_json, read_jsonl
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.storage import write_bytes

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "", "Folder of the stages.", flag_values=FLAGS)
_RESULTS = flags.DEFINE_string("results", None, "Folder of the JSON files.", flag_values=FLAGS)
flags.mark_flag_as_required("results", flag_values=FLAGS)

HELD_OUT = "held_out.jsonl"
LABELED_IMAGES = 4000  # of each labeled set, see `replication`
ALL_LABELED = 300  # images of each downstream task
SWEEPS = {ALL_LABELED: "transfer"} | {count: f"few_{count}" for count in replication.FEW}  # folders, by labeled images


_ONCE = "pre-trained once, fine-tuned with three seeds: the standard error is that of fine-tuning alone."
_AFTER = (
    "Each seed has its own pre-training and one fine-tuning. One set of teachers for all. The primary endpoint was "
    "named after these runs."
)
_OTHERS = f"supervised and must are pre-trained with each seed; the others: {_ONCE}"
TABLES: dict[str, Table] = {
    "table2": Table(
        "Table 2: MuST against supervised and self-supervised pre-training",
        ("random", "supervised", "simclr", "must"),
        "supervised",
        "must",
        _AFTER,
    ),
    "table2_simclr": Table(
        "Table 2, the second question: MuST against self-supervised pre-training",
        ("simclr", "must"),
        "simclr",
        "must",
        _AFTER,
    ),
    "table2_instances": Table(
        "Table 2, masks of objects: MuST against supervised and self-supervised pre-training",
        ("random", "supervised", "simclr", "must"),
        "supervised",
        "must",
        "Each seed has its own pre-training and one fine-tuning. One set of teachers for all, none of them of masks of "
        "objects.",
        tasks=(replication.INSTANCES,),
    ),
    "table2_budget": Table(
        "Table 2, a control: supervised pre-training for 2 and 4 times the images",
        ("supervised", "supervised_2x", "supervised_4x", "must"),
        "supervised_4x",
        "must",
        f"must sees as many images as supervised. {_OTHERS}",
    ),
    "table2_shuffled": Table(
        "Table 2, a control: each image with the pseudo labels of another one",
        ("supervised", "must_shuffled", "must"),
        "supervised",
        "must_shuffled",
        f"Human classes stay with their images. {_OTHERS}",
    ),
    "table2_backbone": Table(
        "Table 2, a control: transfer of the backbone without its pyramid",
        ("random", replication.BACKBONE, "must"),
        replication.BACKBONE,
        "must",
        _AFTER,
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
    "table6_teachers": Table(
        "Beyond table 6: MuST by the number of labeled rooms that each of its teachers had",
        ("supervised", *(f"must_{count}" for count in FEWER), "must"),
        f"must_{min(FEWER)}",
        "must",
        f"must: {LABELED_IMAGES:,} rooms for each teacher. {_OTHERS}",
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
    **{
        f"table_few_{count}": Table(
            f"Beyond the paper: {count} labeled images downstream",
            ("random", "supervised", "must"),
            "supervised",
            "must",
            _AFTER,
            cells=SWEEPS[count],
        )
        for count in replication.FEW
    },
}


def collect(out: Path, results: Path) -> None:
    """Gathers the files of stages: cells by sweep and what their images add, held-out scores, minutes, a run's curves.

    What an earlier call gathered stays, unless there is another value for it now.
    """
    for folder in SWEEPS.values():
        gather_cells(sorted((out / folder).glob("*")), results / folder)
    judged = _held_out(results) | {_judged(value): value for value in map(read_json, out.glob("held_out/*/*.json"))}
    if judged:
        lines = [json.dumps(judged[key]) + "\n" for key in sorted(judged)]
        write_bytes(results / HELD_OUT, "".join(lines).encode())
    for path in [*out.glob("runs/must-0/metrics.jsonl"), *out.glob("runs/must-0/config.json"), *out.glob(TIMES)]:
        write_bytes(results / path.relative_to(out), path.read_bytes())


def make(results: Path) -> list[Path]:
    """Makes the tables and curves out of the files of a folder; returns them. What has no cell yet is left out."""
    cells = {count: read_cells(results / folder) for count, folder in SWEEPS.items() if _is_there(results, count)}
    minutes = read_json(results / TIMES) if (results / TIMES).exists() else {}
    made = {name: _table(table, results, cells, minutes) for name, table in TABLES.items()}
    curves = {"unlabeled": _unlabeled(cells[ALL_LABELED]), "few": _few(cells), "sizes": _sizes(results)}
    return [write_made(results / TABLES_IN / f"{name}.json", table) for name, table in made.items() if table] + [
        write_made(results / CURVES_IN / f"{name}.json", curve) for name, curve in curves.items() if curve.drawn
    ]


def _is_there(results: Path, count: int) -> bool:
    return count == ALL_LABELED or (results / SWEEPS[count]).exists()


def _held_out(results: Path) -> dict[tuple[str, str, int], Any]:
    """Returns what `must evaluate` found on held-out rooms, by task, run and input size."""
    lines = read_jsonl(results / HELD_OUT) if (results / HELD_OUT).exists() else []
    return {_judged(value): value for value in lines}


def _judged(value: Mapping[str, Any]) -> tuple[str, str, int]:
    """Returns task, run and input size of a result of `must evaluate` on one task."""
    (task,) = value["scores"]
    return task, Path(value["workdir"]).name, value["size"][0]


def _table(
    table: Table, results: Path, cells: Mapping[int, Sequence[Cell]], minutes: Mapping[str, float]
) -> TransferTable | None:
    groups = [group for group, inits in replication.GROUPS.items() if set(inits) & set(table.inits)]
    labeled = next(count for count, folder in SWEEPS.items() if folder == table.cells)
    return make_table(
        table,
        cells.get(labeled, ()),
        DOWNSTREAM,
        results / table.cells,
        _command("few" if labeled != ALL_LABELED else replication.INSTANCES if table.tasks else groups[-1]),
        {init: cost for init in table.inits if (cost := _cost(init, minutes))},
        {init: budget(init, minutes) for init in table.inits},
    )


def _cost(init: str, minutes: Mapping[str, float]) -> Cost | None:
    """Returns what the pre-training of an initialization took; nothing of one that has none, or was not timed."""
    run = _run(init)
    return Cost(_images(run), minutes[f"{run}-0"]) if f"{run}-0" in minutes else None


def _run(init: str) -> str:
    """Returns the run whose pre-training an initialization has."""
    return "must" if init == replication.BACKBONE else init


def _images(run: str) -> int:
    return RECIPE.images * RUNS[run].times


def budget(init: str, minutes: Mapping[str, float]) -> Budget:
    """Returns what it took to make an initialization with seed 0: its own run, those of its teachers, their labeling.

    Teachers are those of its tasks whose images have no human labels. A labeled set that a teacher and its student both
    learned from counts once.
    """
    if init == "random":
        return Budget(0, 0.0, 0)
    runs, labelings, labeled = _made_of(_run(init))
    stages = {f"{run}-0" for run in runs} | labelings
    stated = all(stage in minutes for stage in stages)
    spent = round(sum(minutes[stage] for stage in stages), 2) if stated else None
    return Budget(sum(map(_images, runs)), spent, sum(labeled.values()))


def _made_of(run: str) -> tuple[set[str], set[str], dict[str, int]]:
    """Returns the runs and the labelings that a run is made by, and the images of the labeled sets learned from."""
    runs, labelings, labeled = {run}, set[str](), dict[str, int]()
    needs = ["supervised"] if RUNS[run].init_from else []
    for folder in RUNS[run].train:
        kind, _, dataset = folder.removesuffix("/train").partition("/")
        human = "classification" if dataset == replication.SHUFFLED or dataset.startswith("shared") else dataset
        if human in RUNS[run].tasks and run != "simclr":
            count = kind.removeprefix("rooms").removeprefix("_")
            labeled[human] = int(count) if count.isdecimal() else LABELED_IMAGES
        if kind == "labeled":
            of_shuffled = dataset == replication.SHUFFLED
            labelings |= {f"label_{dataset}"} | ({"label_shared"} if of_shuffled else set())
            teachers = replication.teachers_of(dataset)
            needs += [teachers[task] for task in RUNS[run].tasks if task != human]
    for made, by, learned in map(_made_of, needs):
        runs, labelings, labeled = runs | made, labelings | by, learned | labeled
    return runs, labelings, labeled


def _command(until: str) -> str:
    return f"python -m must_tf.experiments.rooms.replication --out=replication --until={until}"


def _unlabeled(cells: Sequence[Cell]) -> Lines:
    """Table 6 as a curve."""
    counts = (500, 2000, 8000)
    panels = []
    for task in DOWNSTREAM:
        points = [scores(cells, task, f"pseudo_{count}") for count in counts]
        panels.append(panel(task, {"pseudo labels alone": points}, cells))
    return _curve("Transfer by the number of unlabeled images", "unlabeled images", counts, panels, "unlabeled")


def _few(cells: Mapping[int, Sequence[Cell]]) -> Lines:
    """Transfer by the number of labeled images downstream."""
    counts, panels = sorted(SWEEPS), []
    for task in DOWNSTREAM:
        lines = {
            init: [scores(cells.get(count, ()), task, init) for count in counts] for init in replication.GROUPS["must"]
        }
        panels.append(panel(task, lines if len(cells) > 1 else {}, cells[ALL_LABELED]))
    return _curve("Transfer by the number of labeled images", "labeled images", counts, panels, "few")


def _sizes(results: Path) -> Lines:
    """Scores of teachers, of their students and of MuST's on the teachers' own tasks, by input size."""
    found, panels = _held_out(results), []
    for task in replication.TEACHERS:
        measure, lines = TEACHER_TASKS[task].main_score, {}
        for name, run in replication.judged(task).items():
            values = [found.get((task, f"{run}-0", size)) for size in replication.VIEW_SIZES]
            lines[name] = [(value["scores"][task][measure.name],) if value else None for value in values]
        panels.append(Panel(f"{task}, {measure.name}", known_lines(lines), measure.unit, measure.better))
    title = "On the teachers' own tasks: teacher, its student, MuST; by input size (trained at 96)"
    return _curve(title, "input size in pixels", replication.VIEW_SIZES, panels, "students")


def _curve(title: str, x: str, values: Sequence[int], panels: Sequence[Panel], until: str) -> Lines:
    axis = Axis(x, tuple(values), max(values) / min(values) > 4)
    return Lines(title, _command(until), "", axis, tuple(panels))


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.tables", __doc__, FLAGS, main, argv)


def main() -> None:
    """Gathers the files of the stages, and makes tables and curves of them."""
    results = Path(_RESULTS.value)
    if _OUT.value:
        collect(Path(_OUT.value), results)
    for path in make(results):
        print(path)


if __name__ == "__main__":
    run(sys.argv[1:])
