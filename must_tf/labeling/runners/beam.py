"""Labels shards in a pipeline of Apache Beam, on whatever its own runners run on: Flink, Dataflow, ..."""

import contextlib
import functools
import io
import logging
import pickle
import re
import shlex
import socket
import threading
from collections.abc import Sequence
from typing import Any

from must_tf.errors import UserError, first_line
from must_tf.labeling.runners.inspection import Example, Fault, inspected, labeled
from must_tf.labeling.runners.runner import Finished, Runner, Say
from must_tf.labeling.shard import Job
from must_tf.records import Shard, written
from must_tf.runtime.installed import installed_code

_LACKING = re.compile(r"No module named '[\w.]+'|Can't get attribute '\w+' on <module 'must_tf[\w.]*'")
_USER_ERROR = re.compile(r"\bUserError: (.+?)(?: \[while running .*)?$", re.MULTILINE)


class Beam(Runner):
    """Labels shards in a pipeline of Apache Beam; all workers must see the folders under the same paths.

    A worker shows before its first shard that it would label as the driver does, see `inspection`.

    Args:
      beam_options: options of Beam's pipeline, separated as in a shell, such as `--runner=FlinkRunner
        --direct_num_workers=8`: values that contain spaces or quotes, such as JSON, stand in quotes.
    """

    title, options = "Beam", frozenset({"beam_options"})

    def __init__(self, beam_options: Sequence[str] = ()):
        try:
            self.pipeline_options = [option for text in beam_options for option in shlex.split(text)]
        except ValueError as error:  # quotes that do not end
            raise UserError(f"--beam_options: {error} in {' '.join(beam_options)!r}") from None

    @classmethod
    def of(cls, beam_options: Sequence[str] = ()) -> "Beam":
        """Returns the runner with these options, of which Beam has been asked whether it takes them."""
        runner = cls(beam_options)
        make_pipeline(runner.pipeline_options)
        return runner

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels the shards; yields them when all are finished.

        Raises:
          UserError: Beam is not installed or rejects the options; a worker would label otherwise than the driver; or it
            raised a `UserError`.
        """
        if not jobs:
            return
        pipeline = make_pipeline(self.pipeline_options)
        import apache_beam as beam

        logging.getLogger("apache_beam.runners.common").setLevel(
            logging.CRITICAL
        )  # it also logs the errors that are raised here
        try:
            with pipeline:
                told = installed_code(), pickle.dumps(Example.of(jobs[0]))
                shards = pipeline | beam.Create([pickle.dumps(job) for job in jobs]) | beam.Reshuffle()
                _ = shards | beam.Map(_labeled, *told)
        except ImportError as error:
            raise UserError(f"--runner=beam: Beam's runner needs a package: {first_line(error)}") from None
        except Exception as error:  # each of Beam's runners wraps the errors of its workers in another way
            messages = _USER_ERROR.findall(f"{type(error).__name__}: {error}")
            if messages:
                raise UserError(messages[-1]) from None
            if lacking := _LACKING.search(str(error)):
                raise UserError(
                    f"--runner=beam: a worker lacks what the driver has ({lacking[0]}); install the same packages there"
                ) from None
            raise
        done, plan = {job.index for job in jobs}, jobs[0].plan
        yield from (shard for shard in written(plan) if plan.index(shard.name) in done)


def _labeled(job: bytes, code: str, example: bytes) -> Shard:
    """Labels a shard on a worker."""
    with _inspecting:
        _inspect(code, example)
    found = labeled(job)
    if isinstance(found, Fault):
        raise UserError(f"worker {socket.gethostname()}: {found}")
    return found


_inspecting = threading.Lock()  # the threads of a worker share the teachers, which the first one loads


@functools.cache
def _inspect(code: str, example: bytes) -> None:
    """Raises a `UserError` if this worker would label otherwise than the driver; one that passed is not asked again."""
    found = installed_code()
    fault = inspected(example) if found == code else f"has {found}, the driver {code}; install the same there"
    if fault:
        raise UserError(f"worker {socket.gethostname()}: {fault}")


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
