"""What a transfer table says, in words that its plain text and its page share."""

import dataclasses
import math
from collections.abc import Callable

from must_tf.evaluation.row import Row
from must_tf.evaluation.statistics import Mean
from must_tf.evaluation.table import AHEAD, BEHIND, NO_VERDICT, OPEN, Budget, Cost, TaskRow, TransferTable
from must_tf.report.scale import label
from must_tf.report.words import ABSENT, LOWER, Format, amount, minutes, words

RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Wording:
    """Says the numbers of a table.

    Where all scores are shares, the reader is told once that they are in percent; else each number has its own unit.
    """

    table: TransferTable

    @property
    def all_shares(self) -> bool:
        """Whether all scores are shares."""
        return all(task.unit == "share" for task in self.table.tasks)

    @property
    def some_lower(self) -> bool:
        """Whether lower is better of some score."""
        return any(task.better == "lower" for task in self.table.tasks)

    def score(self, row: Row, init: str) -> str:
        """The mean score and its standard error."""
        return self._format(row).score(row.mean(init))

    def difference(self, row: Row, init: str) -> str:
        """The paired difference to the reference and its standard error."""
        return self._format(row).difference(row.difference(init, self.table.reference))

    def gain(self, row: Row, init: str) -> str:
        """The relative gain over the reference in percent and its standard error."""
        return words(row.gain(init, self.table.reference), sign=True, unit="%")

    def images(self, task: TaskRow) -> str:
        """How many images there are for training, validation and test."""
        return f"{task.train_images:,} / {task.validation_images:,} / {task.test_images:,}"

    def cost(self, cost: Cost | None) -> str:
        """Images seen and minutes."""
        return f"{amount(cost.images)} / {minutes(cost.minutes)}" if cost else ABSENT

    def chosen(self, task: TaskRow, init: str) -> str:
        """The setting that validation chose."""
        setting = task.chosen.get(init)
        return f"{setting.learning_rate:g} × {label(setting.steps)}" if setting else ABSENT

    @property
    def recipe(self) -> str:
        """How the scores were made."""
        table = self.table
        rates = ", ".join(f"{rate:g}" for rate in table.sweep.learning_rates)
        steps = ", ".join(f"{steps:,}" for steps in table.sweep.steps)
        sizes = ", ".join(str(size) for size in sorted({task.batch_size for task in table.tasks}))
        setting = f"{steps} steps of {sizes} images at learning rate {rates}"
        if table.settings > 1:
            setting = f"the best of {table.settings} settings on validation ({setting})"
        seeds = len(table.seeds)
        whole = len(table.tasks) * len(table.inits) * seeds
        there = sum(task.count(init) for task in table.tasks for init in table.inits)
        several = f"mean ± standard error of {seeds} seeds" if seeds > 1 else "1 seed"
        if table.pretraining_seeds:
            each, fine = len({*table.pretraining_seeds}), len({*table.seeds})
            several = f"mean ± standard error over {each} pre-trainings, each fine-tuned {fine} times"
        return f"{setting}, {several}" + (f"; {there} of {whole} scores are there" if there < whole else "")

    @property
    def compared(self) -> str:
        """What differences are between, what is paired, and their unit."""
        repeated = max(self.table.repetitions) > 1
        paired = f"by seed of {'pre-training' if repeated else 'fine-tuning'}"
        return f"Difference to {self.table.reference}, paired {paired}, {self.difference_unit}"

    @property
    def test(self) -> str:
        """How verdicts are made, or why there is none."""
        table = self.table
        if table.why_no_verdict:
            return table.why_no_verdict
        pairs = " to ".join(map(str, dict.fromkeys(n for n in (*table.repetitions[:1], *table.repetitions[-1:]) if n)))
        first = f"first the primary endpoint ({table.endpoint}), then the rest by Holm" if table.endpoint else "by Holm"
        return (
            f"{table.candidate} against {table.reference}, paired t-test over {pairs} pre-trainings, two-sided 5 %: "
            f"{first}"
        )

    @property
    def score_note(self) -> str:
        """What the columns of scores leave unsaid about directions and means; empty where nothing is."""
        lower = f"; {LOWER}: lower is better" if self.some_lower else ""
        averaged, table = len(self.table.averaged), self.table
        partial = len(table.rows) > len(table.tasks) and averaged < len(table.tasks)
        return lower + (f"; mean: of the {averaged} scores in % of which higher is better" if partial else "")

    @property
    def difference_unit(self) -> str:
        """The unit of differences, and what their signs mean where lower is better."""
        unit = "in points" if self.all_shares else "in the unit of the scores (pp: percentage points)"
        return unit + (f"; where lower is better ({LOWER}), so is a negative difference" if self.some_lower else "")

    @property
    def gain_note(self) -> str:
        """What the sign of a gain means where lower is better; empty where higher always is."""
        return f"; positive is better, also where lower scores are ({LOWER})" if self.some_lower else ""

    def verdict_of(self, row: Row, init: str) -> str:
        """What is established of a difference; empty where no verdict is given."""
        found = self.table.verdicts[row.name] if init == self.table.candidate else NO_VERDICT
        return "" if found == NO_VERDICT else found

    def interval(self, row: Row, init: str) -> str:
        """The interval of the bootstrap."""
        interval = self.table.intervals.get(row.name, {}).get(init)
        if not interval:
            return ABSENT
        ends = (Mean(end, math.nan, 1) for end in (interval.low, interval.high))
        return " to ".join(self._format(row).difference(end) for end in ends)

    @property
    def bootstrap(self) -> str:
        """What the bootstrap drew, by initialization."""
        levels: dict[tuple[str, ...], list[str]] = {}
        for init in self.table.others:
            for own in self.table.intervals.values():
                if init in own and init not in levels.setdefault(own[init].levels, []):
                    levels[own[init].levels].append(init)
        drawn = [f"{' × '.join(level)} ({', '.join(inits)})" for level, inits in levels.items()]
        return f"Bootstrap of the difference, middle 95 %, over {'; '.join(drawn)}; a description, not a verdict"

    @property
    def on_edge(self) -> list[str]:
        """For each initialization, the ends of the sweep that its settings lie on, and on how many tasks."""
        said = []
        for init in self.table.inits:
            ends = [end for task in self.table.tasks for end in task.edges.get(init, ())]
            known = sum(init in task.chosen for task in self.table.tasks)
            if ends:
                counts = [f"{end} on {ends.count(end)} of {known}" for end in dict.fromkeys(ends)]
                said.append(f"{init}: {', '.join(counts)}")
        return said

    @property
    def budgets(self) -> list[list[str]]:
        """The budget of each initialization: rows of images, minutes and human labels."""
        budgets = [self.table.budgets.get(init, Budget()) for init in self.table.inits]
        return [
            ["images seen", *(_stated(budget.images, amount) for budget in budgets)],
            ["minutes", *(_stated(budget.minutes, minutes) for budget in budgets)],
            ["human labels", *(_stated(budget.human_labels, amount) for budget in budgets)],
        ]

    @property
    def verdict(self) -> str:
        """One line: what is established of the candidate against the reference, or why nothing is."""
        table, candidate, reference = self.table, self.table.candidate, self.table.reference
        if candidate == reference:
            return f"{candidate} alone: there is nothing to compare it with"
        better = f"its score is better than that of {self._better_than(reference, ' tasks')}"
        if RANDOM in table.inits and RANDOM not in (reference, candidate):
            better += f", and than that of {self._better_than(RANDOM)}"
        if table.why_no_verdict:
            return f"{candidate} against {reference}: {table.why_no_verdict}; {better}"
        parts = []
        for row in table.rows:
            if row.name == table.endpoint:
                p_value = row.difference(candidate, reference).p_value
                parts.append(f"{table.verdicts[row.name]} in the primary endpoint ({row.name}, p = {p_value:.2g})")
        found = [table.verdicts[task.name] for task in table.tasks if task.name != table.endpoint]
        counts = [f"{kind} on {found.count(kind)}" for kind in (AHEAD, BEHIND, OPEN, NO_VERDICT) if kind in found]
        parts += [f"of {len(found)} tasks {', '.join(counts)}"] if found else []
        return f"{candidate} against {reference}: {'; '.join([*parts, better])}"

    def _better_than(self, init: str, noun: str = "") -> str:
        table = self.table
        known = [task for task in table.tasks if task.difference(table.candidate, init).known]
        lacking = len(table.tasks) - len(known)
        better = sum(task.is_better(table.candidate, init) for task in known)
        return f"{init} on {better} of {len(known)}{noun}" + (f" ({lacking} without scores of both)" if lacking else "")

    def _format(self, row: Row) -> Format:
        return Format.of(row.measure, [row.mean(init) for init in self.table.inits], not self.all_shares)


def _stated(value: float | None, said: Callable[[float], str]) -> str:
    return "not stated" if value is None else said(value)
