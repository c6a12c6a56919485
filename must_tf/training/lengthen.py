"""Lets a run go on for more steps than it was begun with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from must_tf.copies import named, publish
from must_tf.errors import UserError
from must_tf.saving import CONFIG, STUDENT
from must_tf.storage import put_folder, write_json
from must_tf.training.checkpoints import newest_state
from must_tf.training.checks import as_stored, check_state
from must_tf.training.config import Experiment, read_config, to_dict


def lengthen(workdir: Path, experiment: Experiment, data: Mapping[str, str], workers: int = 1) -> None:
    """Gives a run the number of steps of an experiment that has more and is the same otherwise; else does nothing.

    The student of a finished run moves to `WORKDIR/steps-N`, which is a finished workdir itself. Nothing moves before
    it is known that the run can go on. A call that was killed may be made again. The steps that follow have the
    learning rates of the longer schedule: from 0, where a finished run ends, the rate rises to what the cosine of all
    steps has there. So the run does not equal one that was begun with as many steps.

    Args:
      workdir: of the run.
      experiment: its config, with more steps.
      data: of the records as they are now, see `checks.fingerprints`.
      workers: that train together.

    Raises:
      UserError: the run is finished and kept no whole checkpoint, it cannot go on here, or several workers train.
    """
    if not (workdir / CONFIG).exists():
        return
    former = read_config(workdir / CONFIG, type(experiment))
    longer = dataclasses.replace(former, steps=experiment.steps)
    if former.steps >= experiment.steps or as_stored(longer) != as_stored(experiment):
        return
    remedy = f"start another run from it, with --init_from={workdir} --keep_heads and another --workdir"
    if workers > 1:
        raise UserError(f"{workdir}: a run of several workers takes no more steps; {remedy}")
    student, kept = workdir / STUDENT, workdir / f"steps-{former.steps}"
    state = newest_state(workdir / "checkpoints")
    if state is not None:
        check_state(workdir, state, data)
    elif student.is_dir():
        raise UserError(f"{workdir}: is finished, and kept no whole checkpoint to go on from; {remedy}")
    words = f"goes on to {experiment.steps} steps, with the learning rates of so many steps; it had {former.steps}"
    if student.is_dir():
        write_json(kept / CONFIG, to_dict(former))
        put_folder(student, kept / STUDENT)
        publish(workdir)  # before the config says that there is no such student
        words += f"; the student of those is in {named(kept)}"
    write_json(workdir / CONFIG, to_dict(experiment))
    print(f"{named(workdir)}: {words}", flush=True)
