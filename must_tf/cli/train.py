"""Trains a student, or a teacher (a student with one task), from a config. The same command continues a killed run.

    must train --config=rooms/student.py --workdir=runs/student

Any field of the config can be changed by a flag:

    --config.steps=100
    --config.optimizer.learning_rate=0.3
    --config.train=DIR,DIR
    --config.tasks.TASK.FIELD=VALUE
"""

from absl import flags

from must_tf.cli import app
from must_tf.errors import UserError

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config", None, "Config of the experiment: FILE.py, or FILE.py:ARGUMENT.", flag_values=FLAGS
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the files of the run.", flag_values=FLAGS)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Weights to start a new run from: an export, the folder of a finished run, or a Model Garden checkpoint. "
    "`python -m must_tf.experiments.huggingface` makes one from an EfficientNet of Hugging Face.",
    flag_values=FLAGS,
)
_RESUME = flags.DEFINE_boolean(
    "resume",
    True,
    "Continue the run that is in the workdir; --noresume refuses a workdir with a run.",
    flag_values=FLAGS,
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the number of steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
_PLAN = flags.DEFINE_bool(
    "plan",
    False,
    "Only compute operations, memory and hours of the run from its config, and print them.",
    flag_values=FLAGS,
)
_ACCELERATORS = flags.DEFINE_list(
    "accelerators", ["1"], "For --plan: numbers of devices, separated by commas, such as 8,256.", flag_values=FLAGS
)
_ACCELERATOR = flags.DEFINE_string(
    "accelerator",
    "tpu-v3",
    "For --plan: the device, one of tpu-v3 (one core), v100, v100-32gb, a100, a100-80gb, h100, cpu (this machine, "
    "measured).",
    flag_values=FLAGS,
)
_UTILIZATION = flags.DEFINE_float(
    "utilization", 0.3, "For --plan: share of the device's peak that the run is assumed to reach.", flag_values=FLAGS
)
flags.mark_flags_as_required(["config"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must train`."""
    rest, overrides = app.split_fields(argv)
    app.run("must train", __doc__, FLAGS, lambda: main(overrides), rest)


def main(overrides: dict[str, str]) -> None:
    """Trains, or computes what that would take."""
    from must_tf.training import load_config, plan, train
    from must_tf.training.strategy import LOST, MULTIWORKER, rejoin

    if not _PLAN.value and not _WORKDIR.value:
        raise UserError(f"--workdir: not given; expected: {FLAGS['workdir'].help}")
    if _INIT_FROM.value is not None:
        overrides = overrides | {"init_from": _INIT_FROM.value}
    experiment = load_config(_CONFIG.value, overrides, _SCALE.value)
    if _PLAN.value:
        print(plan(experiment, app.numbers(_ACCELERATORS, int, 1), _ACCELERATOR.value, _UTILIZATION.value))
        return
    try:
        train(experiment, _WORKDIR.value, _RESUME.value)
    except LOST as error:
        if experiment.strategy != MULTIWORKER:
            raise
        rejoin(error)
    print(f"{_WORKDIR.value}/student: the finished student")
