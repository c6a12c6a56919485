"""The sweep of the transfer protocol: a grid of settings, its edges, and the next larger grid."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from must_tf.ranges import check_range

ENDS = {"learning_rate": ("lowest learning rate", "highest learning rate"), "steps": ("fewest steps", "most steps")}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the protocol sweeps for each initialization.

    Attributes:
      learning_rate: at its peak.
      steps: of fine-tuning.
    """

    learning_rate: float
    steps: int


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is tried for each initialization: every learning rate with every number of steps.

    Attributes:
      learning_rates: at their peak; that of the experiment alone where empty.
      steps: numbers of steps, the warm-up in proportion; that of the experiment alone where empty.
    """

    learning_rates: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_range("--learning_rates", self.learning_rates, "(0, inf)")
        check_range("--steps", self.steps, "[1, inf)")

    def filled(self, learning_rate: float, steps: int) -> "Sweep":
        """Returns the sweep with the learning rate and the steps of an experiment where it has none of its own."""
        return Sweep(self.learning_rates or (learning_rate,), self.steps or (steps,))

    @property
    def settings(self) -> list[Setting]:
        """The settings in order."""
        return [Setting(*pair) for pair in itertools.product(self.learning_rates, self.steps)]

    def extended(self, ends: Iterable[str]) -> "Sweep":
        """Returns the sweep with one more value at each of some ends (values of `ENDS`), in the ratio of the last two.

        An end that cannot be extended, such as fewer steps than one, stays.
        """
        (lowest, highest), (fewest, most) = ENDS.values()
        ends = {*ends}
        rates, steps = sorted(self.learning_rates), sorted(self.steps)
        new_rates = _beyond(rates[::-1], lowest in ends) + _beyond(rates, highest in ends)
        new_steps = _beyond(steps[::-1], fewest in ends) + _beyond(steps, most in ends)
        return Sweep(
            self.learning_rates + tuple(float(f"{rate:.6g}") for rate in new_rates),
            tuple(dict.fromkeys([*self.steps, *(max(1, round(count)) for count in new_steps)])),
        )


def edges(chosen: Setting, tried: Iterable[Setting]) -> tuple[str, ...]:
    """Returns the ends of a sweep that a setting lies on; none of what was tried with one value alone."""
    tried, found = list(tried), []
    for field, ends in ENDS.items():
        values = {getattr(setting, field) for setting in tried}
        if len(values) > 1:
            extremes = zip(ends, (min(values), max(values)), strict=True)
            found += [end for end, value in extremes if getattr(chosen, field) == value]
    return tuple(found)


def _beyond(values: Sequence[float], wanted: bool) -> list[float]:
    return [values[-1] * values[-1] / values[-2]] if wanted else []
