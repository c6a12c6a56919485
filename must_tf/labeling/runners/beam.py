"""Labels shards in a pipeline of Apache Beam, on whatever its own runners run on: Flink, Dataflow, ..."""

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from typing import Any

from must_tf.errors import UserError, first_line
from must_tf.labeling.runners.runner import Finished, Runner, Say
from must_tf.labeling.shard import Job, run_job
from must_tf.records import written

_NO_SPACE = re.compile(r"No space left on device[^\n\[]*")
_USER_ERROR = re.compile(r"\bUserError: (.+?)(?: \[while running .*)?$", re.MULTILINE)


class Beam(Runner):
    """Labels shards in a pipeline of Apache Beam; all workers must see the folders under the same paths.

    Args:
      beam_options: options of Beam's pipeline, separated by spaces: `--runner=FlinkRunner --direct_num_workers=8`.
    """

    title, options = "Beam", frozenset({"beam_options"})

    def __init__(self, beam_options: Sequence[str] = ()):
        self.pipeline_options = [option for text in beam_options for option in text.split()]

    @classmethod
    def of(cls, beam_options: Sequence[str] = ()) -> "Beam":
        """Returns the runner with these options, of which Beam has been asked whether it takes them."""
        runner = cls(beam_options)
        make_pipeline(runner.pipeline_options)
        return runner

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels the shards; yields them when all are finished.

        Raises:
          UserError: Beam is not installed or rejects the options; or a worker raised a `UserError`.
        """
        pipeline = make_pipeline(self.pipeline_options)
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
