"""What a transfer table says, in words that its plain text and its page share."""

import dataclasses

from must_tf.evaluation.statistics import HELPS, HURTS, SAME, chance_of_verdict
from must_tf.evaluation.table import Cost, Row, TaskRow, TransferTable
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
        there = sum(task.mean(init).count for task in table.tasks for init in table.inits)
        several = f"mean ± standard error of {seeds} seeds" if seeds > 1 else "1 seed"
        return f"{setting}, {several}" + (f"; {there} of {whole} scores are there" if there < whole else "")

    @property
    def by_chance(self) -> str:
        """How often seeds alone give a verdict."""
        seeds = len(self.table.seeds)
        return f"with {seeds} seeds, chance alone does so in {chance_of_verdict(seeds):.0%} of cases"

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
        return unit + (f"; where lower is better ({LOWER}), a negative difference helps" if self.some_lower else "")

    @property
    def gain_note(self) -> str:
        """What the sign of a gain means where lower is better; empty where higher always is."""
        return f"; positive is better, also where lower scores are ({LOWER})" if self.some_lower else ""

    def count(self, init: str) -> str:
        """On how many tasks an initialization helps, hurts, and makes no difference."""
        found = [task.verdict(init, self.table.reference) for task in self.table.tasks]
        said = [f"{kind} on {found.count(kind)}" for kind in (HELPS, HURTS, SAME) if kind in found]
        return ", ".join(said) or ABSENT

    @property
    def verdict(self) -> str:
        """One line: on how many tasks the candidate is ahead of the reference, and of random."""
        table, candidate = self.table, self.table.candidate
        if not table.others:
            return f"{candidate} alone: there is nothing to compare it with"
        found = [task.verdict(candidate, table.reference) for task in table.tasks]
        line = f"{candidate} is ahead of {self._ahead_of(table.reference, ' tasks')}"
        if {*found} & {HELPS, HURTS, SAME}:
            line += f", by more than two standard errors on {found.count(HELPS)}"
            line += f", and behind by as much on {found.count(HURTS)}" if HURTS in found else ""
        if RANDOM in table.inits and RANDOM not in (table.reference, candidate):
            line += f"{', and' if table.is_plain else ';'} of {self._ahead_of(RANDOM)}"
        return line

    def _ahead_of(self, init: str, noun: str = "") -> str:
        table = self.table
        known = [task for task in table.tasks if task.difference(table.candidate, init).known]
        lacking = len(table.tasks) - len(known)
        ahead = sum(task.ahead(table.candidate, init) for task in known)
        return f"{init} on {ahead} of {len(known)}{noun}" + (f" ({lacking} without scores of both)" if lacking else "")

    def _format(self, row: Row) -> Format:
        return Format.of(row.measure, [row.mean(init) for init in self.table.inits], not self.all_shares)
