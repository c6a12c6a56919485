"""Makes the transfer table out of cells alone."""

from collections.abc import Iterable, Mapping, Sequence

from must_tf.errors import UserError
from must_tf.evaluation.cells import Cell, choose
from must_tf.evaluation.table import Cost, Sweep, TaskRow, TransferTable


def tabulate(
    cells: Iterable[Cell],
    inits: Sequence[str],
    reference: str,
    candidate: str,
    tasks: Sequence[str] = (),
    title: str = "Transfer",
    command: str = "",
    note: str = "",
    swept: TransferTable | None = None,
    pretraining: Mapping[str, Cost] | None = None,
) -> TransferTable:
    """Makes the table of some initializations; what is not there yet is left out, and so is an unfinished sweep.

    Args:
      cells: of any tasks and initializations; all those of a task say what its sweep is.
      inits: the columns, in order.
      reference: the initialization that others are compared with.
      candidate: the initialization that the table is about.
      tasks: the rows, in order; all in the order of the cells where empty.
      title: of the table.
      command: that made the cells.
      note: what a reader should know.
      swept: the table of the sweep, where it was made elsewhere: the setting of each task and initialization is the one
        that was chosen there, and the cells are of no sweep.
      pretraining: what it cost to make the initializations.

    Raises:
      UserError: no cell is there, an initialization is not among `inits`, or cells of a task differ in their metric.
    """
    if not {reference, candidate} <= set(inits):
        raise UserError(f"table {title!r}: reference {reference!r} or candidate {candidate!r} is not in {list(inits)}")
    cells = list(cells)
    wanted = [cell for cell in cells if cell.init in inits and cell.task in (tasks or (cell.task,))]
    if not wanted:
        raise UserError(f"table {title!r}: no cell of {', '.join(inits)} is there; run `must transfer` first")
    seeds = _seeds(wanted)
    before = {row.name: row for row in swept.tasks} if swept else {}
    rows = [
        _row([cell for cell in cells if cell.task == name], inits, seeds, before.get(name))
        for name in tasks or dict.fromkeys(cell.task for cell in wanted)
        if any(cell.task == name for cell in wanted)
    ]
    rates, steps = ({getattr(cell, field) for cell in wanted} for field in ("learning_rate", "steps"))
    sweep = swept.sweep if swept else Sweep(tuple(sorted(rates)), tuple(sorted(steps)))
    return TransferTable(
        title, command, note, reference, candidate, tuple(inits), tuple(seeds), sweep, tuple(rows), pretraining or {}
    )


def _seeds(cells: Sequence[Cell]) -> list[int]:
    """Returns the seeds, that of the sweep first: the one with the most settings, of several the lowest."""
    seeds = sorted({cell.seed for cell in cells})
    swept = max(seeds, key=lambda seed: len({cell.setting for cell in cells if cell.seed == seed}))
    return [swept, *(seed for seed in seeds if seed != swept)]


def _row(cells: Sequence[Cell], inits: Sequence[str], seeds: Sequence[int], before: TaskRow | None) -> TaskRow:
    """Returns the row of a task, with the settings of the row `before` where there is one."""
    first, first_seed = cells[0], _seeds(cells)[0]
    if any(cell.measure != first.measure for cell in cells):
        raise UserError(f"{first.task}: its cells differ in metric, unit or direction; make them with one version")
    swept = {cell.setting for cell in cells if cell.seed == first_seed}
    scores, chosen, cost = {}, {}, {}
    for init in inits:
        own = [cell for cell in cells if cell.init == init]
        sweep = [cell for cell in own if cell.seed == first_seed]
        if before and init in before.chosen:
            setting = before.chosen[init]
            own = [cell for cell in own if cell.setting == setting]
        elif not before and {cell.setting for cell in sweep} == swept:
            setting = choose(sweep)
        else:
            continue  # what would be chosen is not known yet
        by_seed = {cell.seed: cell.score for cell in own if cell.setting == setting}
        scores[init] = tuple(by_seed.get(seed) for seed in seeds)
        chosen[init] = setting
        images, minutes = sum(cell.steps * cell.batch_size for cell in own), sum(cell.minutes for cell in own)
        cost[init] = Cost(images, round(minutes, 2))
    return TaskRow(
        name=first.task,
        metric=first.metric,
        unit=first.unit,
        better=first.better,
        scores=scores,
        settings=before.settings if before else len(swept),
        batch_size=first.batch_size,
        train_images=first.train_images,
        validation_images=first.validation_images,
        test_images=first.test_images,
        chosen=chosen,
        cost=cost,
    )
