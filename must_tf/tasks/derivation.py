"""Contract of derivations: labels of a kind that are computed from the labels of a teacher of another kind."""

import abc
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Derivation(abc.ABC):
    """The card fields of a derivation, and what it computes by them.

    `__post_init__` raises a ValueError, `FIELD: problem`, for invalid values.
    """

    @abc.abstractmethod
    def misfit(self, source: Any) -> str | None:
        """Returns why labels cannot be computed from those of a task; None if they can.

        Args:
          source: the other `Task`.
        """

    @abc.abstractmethod
    def derive(self, label: Any) -> Any:
        """Returns the label of an image, in the frame of the image.

        Args:
          label: of the other task, in the frame of the image.

        Raises:
          UserError: the fields do not fit an image of this size.
        """
