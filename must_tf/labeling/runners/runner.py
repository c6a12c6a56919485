"""The interface of a runner, and what runners share."""

import abc
from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar

from must_tf.labeling.shard import Job
from must_tf.records import Shard

Say = Callable[[str], None]
Finished = Generator[Shard, None, None]


class Runner(abc.ABC):
    """Labels shards somewhere, each by `run_job`.

    Attributes:
      title: its name in a sentence.
      options: the arguments of `must_tf.label`, and flags of `must label`, that it takes.
    """

    title: ClassVar[str]
    options: ClassVar[frozenset[str]]

    @classmethod
    def of(cls, *_: Any, **options: Any) -> "Runner | None":
        """Returns the runner with these options, which are not empty; None is this process.

        Raises:
          UserError: an option cannot be, or a package is not installed: what is known before anything is loaded.
        """
        return cls(**options)

    @abc.abstractmethod
    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels the shards of the jobs, and yields each as it is finished, in any order.

        Args:
          jobs: the shards to label.
          say: prints a line beside the progress.
        """

    def needs(self) -> str:
        """Returns what the runner makes of the memory and the time that one process needs."""
        return f"each worker of {self.title} takes as much memory; the time is at best divided by their number"
