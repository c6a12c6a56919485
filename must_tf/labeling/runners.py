"""Runners label many shards in parallel: in processes of this machine, or with Apache Beam.

A runner takes jobs and yields their shards as they are finished.
"""

import concurrent.futures
import contextlib
import io
import itertools
import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from must_tf.errors import UserError, first_line
from must_tf.labeling.shard import Job, run_job
from must_tf.records import Shard, written
from must_tf.runtime.processes import end_with_parent

Runner = Callable[[Sequence[Job]], Iterator[Shard]]

_AHEAD = 4  # shards per process that are handed over at a time
_NO_SPACE = re.compile(r"No space left on device[^\n\[]*")
_USER_ERROR = re.compile(r"\bUserError: (.+?)(?: \[while running .*)?$", re.MULTILINE)


def in_processes(jobs: Sequence[Job], processes: int, num_gpus: int = 0) -> Iterator[Shard]:
    """Labels shards in several processes of this machine; process i gets GPU i of the visible GPUs, if any.

    Raises:
      UserError: a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    with concurrent.futures.ProcessPoolExecutor(processes, context, _start, (started, num_gpus)) as pool:
        waiting, running = iter(jobs), set[concurrent.futures.Future[Shard]]()
        try:
            while True:  # few are handed over at a time: there may be very many
                running |= {
                    pool.submit(run_job, job) for job in itertools.islice(waiting, _AHEAD * processes - len(running))
                }
                if not running:
                    return
                done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool:
            raise UserError(
                f"--processes={processes}: a process was killed or could not start; if memory was short, the same "
                "command with fewer processes resumes"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def with_beam(jobs: Sequence[Job], options: Sequence[str] = ()) -> Iterator[Shard]:
    """Labels shards in a pipeline of Apache Beam; all workers must see the folders under the same paths.

    Args:
      jobs: the shards to label.
      options: options of Beam's pipeline: `--runner=FlinkRunner`, `--direct_num_workers=8`, ...

    Raises:
      UserError: Beam is not installed or rejects the options; or a worker raised a `UserError`.
    """
    pipeline = make_pipeline(options)
    import apache_beam as beam

    logging.getLogger("apache_beam.runners.common").setLevel(
        logging.CRITICAL
    )  # it also logs the errors that are raised here
    try:
        with pipeline:
            _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(run_job)
    except ImportError as error:
        raise UserError(f"--runner=beam: Beam's runner needs a package: {first_line(error)}") from None
    except Exception as error:  # each of Beam's runners wraps the errors of its workers in another way
        messages = _USER_ERROR.findall(f"{type(error).__name__}: {error}")
        if messages:
            raise UserError(messages[-1]) from None
        if full := _NO_SPACE.search(str(error)):
            raise UserError(f"--runner=beam: {full[0].strip()}; make room, and the same command resumes") from None
        raise
    labeled = {job.index for job in jobs}
    if labeled:
        plan = jobs[0].plan
        yield from (shard for shard in written(plan) if plan.index(shard.name) in labeled)


def make_pipeline(options: Sequence[str]) -> Any:
    """Returns an empty pipeline of Apache Beam.

    Raises:
      UserError: Beam, or a package that its runner needs, is not installed; or Beam rejects an option.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError("--runner=beam: Apache Beam is not installed; pip install 'must_tf[beam]'") from None
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            parsed = PipelineOptions(list(options))
            parsed.get_all_options()  # parses them, as the runners would do later
            return beam.Pipeline(options=parsed)
    except (ImportError, ValueError) as error:
        problem = str(error)
    except SystemExit:  # raised by argparse, which has printed the reason
        problem = printed.getvalue().strip().rpartition("error: ")[2]
    raise UserError(f"--beam_options: {' '.join(problem.split())}")


def share_gpus() -> int:
    """Lets TensorFlow allocate GPU memory only as needed, so that processes share GPUs; returns the number of GPUs."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return len(gpus)


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
