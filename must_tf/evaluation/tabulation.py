"""Makes the transfer table out of cells alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from must_tf.errors import UserError
from must_tf.evaluation.bootstrap import with_intervals
from must_tf.evaluation.cells import Cell, Draw, choose
from must_tf.evaluation.sweep import Sweep, edges
from must_tf.evaluation.table import MEAN, Budget, Cost, TaskRow, TransferTable
from must_tf.tasks.per_image import PerImage


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
    primary: str = MEAN,
    budgets: Mapping[str, Budget] | None = None,
    per_image: Callable[[Cell], PerImage | None] = lambda cell: None,
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
      pretraining: what the runs cost that made the initializations, without their teachers.
      primary: the primary endpoint, `mean` or a task; it is to be named before the run.
      budgets: what it took to make the initializations, teachers included.
      per_image: returns what was kept of each test image of a cell.

    Raises:
      UserError: no cell is there, an initialization is not among `inits`, or cells of a task differ in their metric.
    """
    if not {reference, candidate} <= set(inits):
        raise UserError(f"table {title!r}: reference {reference!r} or candidate {candidate!r} is not in {list(inits)}")
    cells = list(cells)
    wanted = [cell for cell in cells if cell.init in inits and cell.task in (tasks or (cell.task,))]
    if not wanted:
        raise UserError(f"table {title!r}: no cell of {', '.join(inits)} is there; run `must transfer` first")
    draws = _draws(wanted)
    before = {row.name: row for row in swept.tasks} if swept else {}
    rows = [
        _row([cell for cell in cells if cell.task == name], inits, draws, before.get(name))
        for name in tasks or dict.fromkeys(cell.task for cell in wanted)
        if any(cell.task == name for cell in wanted)
    ]
    rates, steps = ({getattr(cell, field) for cell in wanted} for field in ("learning_rate", "steps"))
    table = TransferTable(
        title=title,
        command=command,
        note=note,
        reference=reference,
        candidate=candidate,
        inits=tuple(inits),
        seeds=tuple(draw.seed for draw in draws),
        sweep=swept.sweep if swept else Sweep(tuple(sorted(rates)), tuple(sorted(steps))),
        tasks=tuple(rows),
        pretraining=pretraining or {},
        pretraining_seeds=_apart(draws),
        primary=primary,
        budgets=budgets or {},
    )
    chosen = {(row.name, init): setting for row in rows for init, setting in row.chosen.items()}
    kept = {
        (cell.task, cell.init, draws.index(cell.draw)): per_image(cell)
        for cell in wanted
        if cell.setting == chosen.get((cell.task, cell.init))
    }
    return with_intervals(table, {key: statistic for key, statistic in kept.items() if statistic})


def _draws(cells: Iterable[Cell]) -> list[Draw]:
    """Returns the draws, that of the sweep first: the one with the most settings, of several the lowest."""
    settings: dict[Draw, set] = {}
    for cell in cells:
        settings.setdefault(cell.draw, set()).add(cell.setting)
    draws = sorted(settings, key=lambda draw: (draw.repetition, draw.seed))
    swept = max(draws, key=lambda draw: len(settings[draw]))
    return [swept, *(draw for draw in draws if draw != swept)]


def _apart(draws: Sequence[Draw]) -> tuple[int, ...]:
    """Returns the seeds of the pre-trainings; nothing where they are those of the fine-tunings."""
    return () if all(draw.pretraining is None for draw in draws) else tuple(draw.repetition for draw in draws)


def _row(cells: Sequence[Cell], inits: Sequence[str], draws: Sequence[Draw], before: TaskRow | None) -> TaskRow:
    """Returns the row of a task, with the settings of the row `before` where there is one."""
    first, first_draw = cells[0], _draws(cells)[0]
    if any(cell.measure != first.measure for cell in cells):
        raise UserError(f"{first.task}: its cells differ in metric, unit or direction; make them with one version")
    swept = {cell.setting for cell in cells if cell.draw == first_draw}
    scores, pretrainings, chosen, cost = {}, {}, {}, {}
    for init in inits:
        own = [cell for cell in cells if cell.init == init]
        sweep = [cell for cell in own if cell.draw == first_draw]
        if before and init in before.chosen:
            setting = before.chosen[init]
            own = [cell for cell in own if cell.setting == setting]
        elif not before and {cell.setting for cell in sweep} == swept:
            setting = choose(sweep)
        else:
            continue  # what would be chosen is not known yet
        by_draw = {cell.draw: cell for cell in own if cell.setting == setting}
        scores[init] = tuple(by_draw[draw].score if draw in by_draw else None for draw in draws)
        pretrainings[init] = _numbers([_weights(draw, by_draw.get(draw)) for draw in draws])
        chosen[init] = setting
        images, minutes = sum(cell.steps * cell.batch_size for cell in own), sum(cell.minutes for cell in own)
        cost[init] = Cost(images, round(minutes, 2))
    ends = before.edges if before else {init: edges(setting, swept) for init, setting in chosen.items()}
    return TaskRow(
        name=first.task,
        metric=first.metric,
        unit=first.unit,
        better=first.better,
        scores=scores,
        pretrainings=pretrainings,
        settings=before.settings if before else len(swept),
        batch_size=first.batch_size,
        train_images=first.train_images,
        validation_images=first.validation_images,
        test_images=first.test_images,
        chosen=chosen,
        cost=cost,
        edges={init: own for init, own in ends.items() if own and init in chosen},
    )


def _weights(draw: Draw, cell: Cell | None) -> str | int:
    """Returns what tells initial weights apart: their hash; the seed of a random start, or where there is no cell."""
    return cell.weights if cell and cell.weights else draw.repetition


def _numbers(labels: Sequence[str | int]) -> tuple[int, ...]:
    """Returns the number of each label, counted in their order."""
    order = list(dict.fromkeys(labels))
    return tuple(order.index(label) for label in labels)
