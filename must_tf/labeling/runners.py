"""Runners map the labelling of a shard over many shards: each takes jobs, and yields their shards as they end."""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence

from must_tf.errors import UserError
from must_tf.labeling.shard import Job, run_job
from must_tf.records import Shard, written

Runner = Callable[[Sequence[Job]], Iterator[Shard]]


def in_processes(jobs: Sequence[Job], processes: int, num_gpus: int = 0) -> Iterator[Shard]:
    """Labels in several processes of this machine; process i sees GPU i, where there are any."""
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    with concurrent.futures.ProcessPoolExecutor(processes, context, _start, (started, num_gpus)) as pool:
        running = [pool.submit(run_job, job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(running):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def with_beam(jobs: Sequence[Job], options: Sequence[str] = ()) -> Iterator[Shard]:
    """Labels as a pipeline of Apache Beam, whose workers must see the folders under the same names.

    Args:
      jobs: what is to be labelled.
      options: of the pipeline, as Beam takes them: `--runner=FlinkRunner`, `--direct_num_workers=8`, ...

    Raises:
      UserError: Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError("--runner=beam: Apache Beam is not installed; pip install 'must_tf[beam]'") from None
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(run_job)
    yield from (written(job.plan, job.index) for job in jobs)


def count_gpus() -> int:
    """Returns how many GPUs TensorFlow sees; none of them is taken."""
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def _start(started, num_gpus: int) -> None:
    """Gives a new process a GPU of its own, before TensorFlow looks for one."""
    with started.get_lock():
        number = started.value
        started.value += 1
    if num_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % num_gpus)
