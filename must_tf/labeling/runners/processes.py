"""Labels shards in several processes of this machine, each on a GPU of its own where there are several."""

import concurrent.futures
import itertools
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from must_tf.errors import UserError
from must_tf.labeling.runners.runner import Finished, Runner, Say
from must_tf.labeling.shard import Job, run_job
from must_tf.records import Shard
from must_tf.runtime.gpus import share_gpus
from must_tf.runtime.processes import end_with_parent

_AHEAD = 4  # shards per process that are handed over at a time


class Processes(Runner):
    """Labels shards in several processes; process i gets GPU i of the visible GPUs, if any.

    Args:
      processes: how many.
      num_gpus: that they share.
    """

    title, options = "this machine", frozenset({"processes"})

    def __init__(self, processes: int, num_gpus: int = 0):
        self.processes, self.num_gpus = processes, num_gpus

    @classmethod
    def of(cls, processes: int = 0) -> "Processes | None":
        """Returns the runner of so many processes; by default one per GPU."""
        gpus = share_gpus()
        number = processes or gpus
        return cls(number, gpus) if number > 1 else None

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels the shards.

        Raises:
          UserError: a process was killed.
        """
        context = multiprocessing.get_context("spawn")
        started = context.Value("i", 0)
        with concurrent.futures.ProcessPoolExecutor(self.processes, context, _start, (started, self.num_gpus)) as pool:
            waiting, running = iter(jobs), set[concurrent.futures.Future[Shard]]()
            try:
                while True:  # few are handed over at a time: there may be very many
                    free = _AHEAD * self.processes - len(running)
                    running |= {pool.submit(run_job, job) for job in itertools.islice(waiting, free)}
                    if not running:
                        return
                    done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            except BrokenProcessPool:
                raise UserError(
                    f"--processes={self.processes}: a process was killed or could not start; if memory was short, the "
                    "same command with fewer processes resumes"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)

    def needs(self) -> str:
        """Returns what so many processes need."""
        number = self.processes
        return f"{number} processes take {number} times the memory, and at best 1/{number} of the time"


def _start(started: Any, num_gpus: int) -> None:
    """Initializes a new process: it ends with its parent, and its GPU is chosen before TensorFlow looks for GPUs."""
    end_with_parent()
    with started.get_lock():
        number = started.value
        started.value += 1
    if num_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(num_gpus)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % num_gpus]
        share_gpus()
