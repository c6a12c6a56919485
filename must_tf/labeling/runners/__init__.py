"""Runners label many shards in parallel: in processes of this machine, with Apache Beam, or on a Ray cluster."""

from typing import Any

from must_tf.errors import UserError
from must_tf.labeling.runners.beam import Beam
from must_tf.labeling.runners.processes import Processes
from must_tf.labeling.runners.ray import Ray
from must_tf.labeling.runners.runner import Runner

# A new runner is one file in this folder and one line here.
RUNNERS: dict[str, type[Runner]] = {"local": Processes, "beam": Beam, "ray": Ray}


def make_runner(name: str, **options: Any) -> Runner | None:
    """Returns what labels the shards; None is this process. It must be called before teachers take a GPU.

    Args:
      name: one of `RUNNERS`.
      **options: of all runners, by the names of the arguments of `must_tf.label`; an empty one was not given.

    Raises:
      UserError: there is no such runner, or it does not take an option, or rejects its value.
    """
    if name not in RUNNERS:
        raise UserError(f"--runner: {name!r} received, expected {' or '.join(RUNNERS)}")
    given = {option: value for option, value in options.items() if value}
    for option in given:
        if option not in RUNNERS[name].options:
            takers = " or ".join(f"--runner={other}" for other, runner in RUNNERS.items() if option in runner.options)
            raise UserError(f"--{option}: received with --runner={name}; give it with {takers} alone")
    return RUNNERS[name].of(**given)
