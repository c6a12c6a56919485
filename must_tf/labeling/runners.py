"""Runners map the labeling of a shard over many shards: each takes jobs, and yields their shards as they end."""

import concurrent.futures
import contextlib
import io
import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from must_tf.errors import UserError, first_line
from must_tf.labeling.shard import Job, run_job
from must_tf.processes import end_with_parent
from must_tf.records import Shard, written

Runner = Callable[[Sequence[Job]], Iterator[Shard]]

_NO_SPACE = re.compile(r"No space left on device[^\n\[]*")
_USER_ERROR = re.compile(r"\bUserError: (.+?)(?: \[while running .*)?$", re.MULTILINE)


def in_processes(jobs: Sequence[Job], processes: int, num_gpus: int = 0) -> Iterator[Shard]:
    """Labels in several processes of this machine; process i sees GPU i of those that this one sees, if any.

    Raises:
      UserError: a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    with concurrent.futures.ProcessPoolExecutor(processes, context, _start, (started, num_gpus)) as pool:
        running = [pool.submit(run_job, job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(running):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                f"--processes={processes}: one of them was killed or could not start; memory may be short: the same "
                "command with fewer goes on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def with_beam(jobs: Sequence[Job], options: Sequence[str] = ()) -> Iterator[Shard]:
    """Labels as a pipeline of Apache Beam, whose workers must see the folders under the same names.

    Args:
      jobs: what is to be labeled.
      options: of the pipeline, as Beam takes them: `--runner=FlinkRunner`, `--direct_num_workers=8`, ...

    Raises:
      UserError: Beam is not installed, or does not take the options; or a worker's.
    """
    pipeline = make_pipeline(options)
    import apache_beam as beam

    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)  # it tells of what is raised too
    try:
        with pipeline:
            _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(run_job)
    except ImportError as error:
        raise UserError(f"--runner=beam: its runner needs what is not installed: {first_line(error)}") from None
    except Exception as error:  # runners wrap what their workers raise, each in its way
        said = _USER_ERROR.findall(f"{type(error).__name__}: {error}")
        if said:
            raise UserError(said[-1]) from None
        if full := _NO_SPACE.search(str(error)):
            raise UserError(f"--runner=beam: {full[0].strip()}; make room, and the same command goes on") from None
        raise
    yield from (written(job.plan, job.index) for job in jobs)


def make_pipeline(options: Sequence[str]) -> Any:
    """Returns an empty pipeline of Apache Beam.

    Raises:
      UserError: Beam, or what its runner needs, is not installed; an option that it does not take.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError("--runner=beam: Apache Beam is not installed; pip install 'must_tf[beam]'") from None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = PipelineOptions(list(options))
            parsed.get_all_options()  # which reads them, as the runners would do later
            return beam.Pipeline(options=parsed)
    except (ImportError, ValueError) as error:
        problem = str(error)
    except SystemExit:  # of argparse, which has printed why
        problem = said.getvalue().strip().rpartition("error: ")[2]
    raise UserError(f"--beam_options: {' '.join(problem.split())}")


def share_gpus() -> int:
    """Returns how many GPUs TensorFlow sees; it takes of their memory what it needs, so that others fit beside it."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return len(gpus)


def _start(started: Any, num_gpus: int) -> None:
    """Begins a new process: it ends when its parent does, and has a GPU of its own before TensorFlow looks for one."""
    end_with_parent()
    with started.get_lock():
        number = started.value
        started.value += 1
    if num_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(num_gpus)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % num_gpus]
        share_gpus()
