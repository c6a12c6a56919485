"""Tables and curves of arms, made from the cells of their transfers: what is compared with what."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from must_tf.evaluation.cells import CELLS, IMAGES, Cell, read_cells, read_images, write_cells
from must_tf.evaluation.lines import Lines, Panel
from must_tf.evaluation.table import MEAN, Budget, Cost, TransferTable
from must_tf.evaluation.tabulation import tabulate
from must_tf.storage import write_bytes, write_json

TABLES_IN, CURVES_IN = "tables", "curves"
TRANSFER = "transfer"  # folder of the cells of most tables


@dataclasses.dataclass(frozen=True)
class Table:
    """One table: what is compared with what.

    Attributes:
      title: of the table.
      inits: the arms, in order.
      reference: the arm that others are compared with.
      candidate: the arm that the table is about.
      note: what a reader should know.
      primary: the endpoint that is judged first, named before the run.
      cells: folder of its cells.
      tasks: its rows; where empty, those of the experiment.
    """

    title: str
    inits: tuple[str, ...]
    reference: str
    candidate: str
    note: str = ""
    primary: str = MEAN
    cells: str = TRANSFER
    tasks: tuple[str, ...] = ()


def gather_cells(workdirs: Iterable[Path], folder: Path) -> None:
    """Gathers the cells of transfers, and what their images add, into a folder with a `cells.jsonl`.

    What an earlier call gathered stays, unless there is another value for it now.
    """
    workdirs = [path for path in workdirs if any(path.glob("*/*/lr*.json"))]
    cells = [cell for workdir in workdirs for cell in read_cells(workdir)]
    if cells:
        known = read_cells(folder) if (folder / CELLS).exists() else []
        write_cells(folder, [*known, *cells])
    for workdir in workdirs:
        for path in workdir.glob(f"*/*/*{IMAGES}"):
            write_bytes(folder / path.relative_to(workdir), path.read_bytes())


def make_table(
    table: Table,
    cells: Sequence[Cell],
    tasks: Sequence[str],
    folder: Path,
    command: str,
    pretraining: Mapping[str, Cost],
    budgets: Mapping[str, Budget],
) -> TransferTable | None:
    """Makes a table; None where its reference, its candidate or half of its arms have no cell yet.

    Args:
      table: what is compared.
      cells: of its sweep.
      tasks: the rows, in order, where the table names none.
      folder: that the cells were gathered in.
      command: that makes the cells.
      pretraining: what the runs cost.
      budgets: what it took to make the arms, teachers included.
    """
    rows = table.tasks or tasks
    cells = [cell for cell in cells if cell.task in rows]
    known = {cell.init for cell in cells} & set(table.inits)
    missing = [init for init in table.inits if init not in known]
    if not {table.reference, table.candidate} <= known or 2 * len(known) <= len(table.inits):
        return None
    return tabulate(
        cells,
        *(table.inits, table.reference, table.candidate, rows),
        title=table.title,
        command=command,
        note=" ".join(filter(None, (table.note, f"Not run: {', '.join(missing)}." if missing else ""))),
        pretraining={init: cost for init, cost in pretraining.items() if init in table.inits},
        primary=table.primary,
        budgets={init: budget for init, budget in budgets.items() if init in table.inits},
        per_image=partial(read_images, folder),
    )


def write_made(path: Path, made: TransferTable | Lines) -> Path:
    """Writes a table or curves as JSON; returns the path."""
    write_json(path, made.to_json())
    return path


Points = Sequence[tuple[float, ...] | None]


def scores(cells: Sequence[Cell], task: str, init: str) -> tuple[float, ...] | None:
    """Returns the test scores of the seeds at the chosen setting; None where there is none."""
    if not any((cell.task, cell.init) == (task, init) for cell in cells):
        return None
    (row,) = tabulate(cells, (init,), init, init, (task,)).tasks
    return tuple(score for score in row.of(init) if score is not None) or None


def panel(task: str, lines: Mapping[str, Points], cells: Sequence[Cell]) -> Panel:
    """Returns the chart of a task, with the metric of its cells; lines without a point are left out."""
    for cell in cells:
        if cell.task == task:
            return Panel(f"{task}, {cell.metric}", known_lines(lines), cell.unit, cell.better)
    return Panel(task, known_lines(lines))


def known_lines(lines: Mapping[str, Points]) -> dict[str, tuple[tuple[float, ...] | None, ...]]:
    """Returns the lines that have a point."""
    return {init: tuple(points) for init, points in lines.items() if any(points)}
