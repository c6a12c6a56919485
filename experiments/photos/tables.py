"""The tables of the experiment on photographs, made from the JSON files of its stages alone.

    python -m must_tf.experiments.photos.tables --out=photographs --results=experiments/photos/results/datasets

Gathers what the stages have made so far (cells of the protocol, scores of teachers, minutes) into --results, and makes
there the tables that `must report --transfer=RESULTS/tables` draws. Without --out it makes them of what is there. It
prints the arms that have no cell yet.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import flags

from must_tf.cli import app
from must_tf.cli.stages import TIMES
from must_tf.evaluation.cells import CELLS, Cell, read_cells, read_images
from must_tf.evaluation.table import Budget, Cost
from must_tf.evaluation.tabulation import tabulate
from must_tf.experiments.arms import SIMCLR
from must_tf.experiments.photos import judging, replication
from must_tf.experiments.photos.finetuning import DOWNSTREAM, FEW, IMAGENET
from must_tf.experiments.photos.pretraining import FEATURES, RECIPE, RUNS
from must_tf.experiments.photos.replication import SETTINGS
from must_tf.experiments.tables import TABLES_IN, TRANSFER, Table, gather_cells, make_table, write_made
from must_tf.parsing import read_json, read_object
from must_tf.records import open_dataset
from must_tf.records.manifest import is_dataset
from must_tf.storage import without_nan, write_bytes, write_json

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "", "Folder of the stages.", flag_values=FLAGS)
_RESULTS = flags.DEFINE_string("results", None, "Folder of the JSON files.", flag_values=FLAGS)
flags.mark_flag_as_required("results", flag_values=FLAGS)

JUDGED = "teachers.json"
RUN = "run.json"  # the size of the run
NOT_VOC = "animals_without_pascal.json"  # for each test image of the animals, whether it is not PASCAL VOC's
ANIMALS = "animals"
_FOLDERS = tuple({group.cells: None for group in replication.GROUPS.values()})
_PRIMARY = "The primary endpoint, the mean over the six tasks, was named before the run."
TABLES: dict[str, Table] = {
    "main": Table(
        "MuST against human classes, soft classes and self-supervision",
        ("random", "human", SIMCLR, "classes", "masks", "must"),
        "classes",
        "must",
        _PRIMARY,
    ),
    "table2": Table(
        "Table 2: MuST against supervised and self-supervised pre-training",
        ("random", "human", SIMCLR, "must"),
        "human",
        "must",
        _PRIMARY,
    ),
    "table3": Table(
        "Table 3: tasks added one at a time",
        ("human", "classes", "classes_boxes", "classes_boxes_masks", "must"),
        "classes",
        "must",
        _PRIMARY,
    ),
    "masks": Table("The labels of one teacher alone", ("masks", "must"), "masks", "must", _PRIMARY),
    FEATURES: Table(
        "Features of the classifier, alone and on top of MuST",
        ("classes", "must", FEATURES, "must_features"),
        "must",
        "must_features",
        f"features: of the network that gives the classes. {_PRIMARY}",
    ),
    "table6": Table(
        "Table 6: MuST by the number of photographs",
        ("must_1000", "must_4000", "must"),
        "must_1000",
        "must",
        "As many images are seen in each. must_1000 and must_4000 are pre-trained once.",
    ),
    "table7": Table(
        "Table 7: MuST from a checkpoint that others trained",
        replication.GROUPS["checkpoint"].inits,
        IMAGENET,
        "imagenet_must",
        _PRIMARY,
        cells=IMAGENET,
    ),
    "few": Table(
        "A tenth of the downstream labels", replication.GROUPS["few"].inits, "classes", "must", _PRIMARY, cells=FEW
    ),
}


def collect(out: Path, results: Path) -> None:
    """Gathers the files of stages: cells and what their images add, scores of teachers, minutes."""
    for folder in _FOLDERS:
        gather_cells([out / folder], results / folder)
    if (out / SETTINGS).exists():
        settings = read_object(out / SETTINGS)
        write_json(results / RUN, {name: settings[name] for name in ("scale", "images", "teachers")})
    if judged := judging.judge(out):
        write_json(results / JUDGED, without_nan(judged))
    if is_dataset(animals := out / "data" / "downstream" / ANIMALS / "test"):
        write_json(
            results / NOT_VOC, [not judging.is_voc(record.filename) for record in open_dataset(animals).records()]
        )
    if (out / TIMES).exists():
        write_bytes(results / TIMES, (out / TIMES).read_bytes())


def make(results: Path) -> list[Path]:
    """Makes the tables out of the files of a folder; returns them. What has no cell yet is left out."""
    minutes = read_json(results / TIMES) if (results / TIMES).exists() else {}
    scale = read_object(results / RUN)["scale"] if (results / RUN).exists() else 1.0
    found = []
    for name, table in TABLES.items():
        cells = _read(results / table.cells)
        options = (results / table.cells, _command(table, scale), _costs(minutes, scale), _budgets(minutes, scale))
        if made := make_table(table, cells, [*DOWNSTREAM], *options):
            found.append(write_made(results / TABLES_IN / f"{name}.json", made))
    return found + _without_voc(results, scale)


def not_run(results: Path) -> list[str]:
    """Returns the arms that lack a cell of some downstream task, with those tasks."""
    there = {(cell.init, cell.task) for folder in (TRANSFER, IMAGENET) for cell in _read(results / folder)}
    lacking = {arm: [task for task in DOWNSTREAM if (arm, task) not in there] for arm in (replication.RANDOM, *RUNS)}
    whole = len(DOWNSTREAM)
    return [
        f"{arm} ({'all tasks' if len(tasks) == whole else ', '.join(tasks)})" for arm, tasks in lacking.items() if tasks
    ]


def _without_voc(results: Path, scale: float) -> list[Path]:
    """Makes the table of the animals on the test images that are not PASCAL VOC's; nothing where none were kept."""
    if not (results / NOT_VOC).exists():
        return []
    weights, folder = np.array([read_json(results / NOT_VOC)], float), results / TRANSFER
    cells: list[Cell] = []
    for cell in _read(folder):
        images = read_images(folder, cell) if cell.task == ANIMALS else None
        if images and images.num_images == weights.size:
            (score,) = images.scores(weights)
            cells.append(dataclasses.replace(cell, test={cell.metric: float(score)}, test_images=int(weights.sum())))
    arms = tuple(
        dict.fromkeys(init for init in (replication.RANDOM, *RUNS) if any(cell.init == init for cell in cells))
    )
    if not {"classes", "must"} <= {*arms}:
        return []
    title = "Animals, scored on the test images that are not PASCAL VOC's"
    made = tabulate(cells, arms, "classes", "must", (ANIMALS,), title, _command(TABLES["main"], scale))
    return [write_made(results / TABLES_IN / "animals_without_pascal.json", made)]


def _read(folder: Path) -> list[Cell]:
    return read_cells(folder) if (folder / CELLS).exists() else []


def _command(table: Table, scale: float = 1.0) -> str:
    groups = [name for name, group in replication.GROUPS.items() if group.cells == table.cells]
    whole = (name for name in reversed(groups) if {*table.inits} <= {*replication.GROUPS[name].inits})  # all seeds
    until = next(whole, groups[-1])
    size = "" if scale == 1 else f" --scale={scale:g}"
    return f"python -m must_tf.experiments.photos.run --data=FOLDER --out=photographs --until={until}{size}"


def _costs(minutes: Mapping[str, float], scale: float) -> dict[str, Cost]:
    return {name: Cost(round(scale * RECIPE.images), minutes[f"{name}-0"]) for name in RUNS if f"{name}-0" in minutes}


def _budgets(minutes: Mapping[str, float], scale: float) -> dict[str, Budget]:
    """Returns what it took to make arms without teachers; what teachers of others took is not stated."""
    own = {SIMCLR: 0, "human": None}
    stated = {
        name: Budget(round(scale * RECIPE.images), minutes.get(f"{name}-0"), labels) for name, labels in own.items()
    }
    return {replication.RANDOM: Budget(0, 0.0, 0)} | stated


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.photos.tables", __doc__, FLAGS, main, argv)


def main() -> None:
    """Gathers the files of the stages, and makes tables of them."""
    results = Path(_RESULTS.value)
    if _OUT.value:
        collect(Path(_OUT.value), results)
    for path in make(results):
        print(path)
    if lacking := not_run(results):
        print(f"not run yet: {'; '.join(lacking)}")


if __name__ == "__main__":
    run(sys.argv[1:])
