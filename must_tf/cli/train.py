"""Trains a student, or a teacher (a student with one task), from a config. The same command continues a killed run.

    must train --config=rooms/student.py --workdir=runs/student

Without --config, the run in the workdir goes on with its own config; --steps=N gives it more steps, also where it is
finished. To train on other data, start another run from it: --init_from=RUN --keep_heads keeps the heads of the tasks
that both have.

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
    "config",
    None,
    "Config of the experiment: FILE.py, or FILE.py:ARGUMENT; by default that of the run in the workdir.",
    flag_values=FLAGS,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for the files of the run, here or in a bucket.", flag_values=FLAGS
)
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "Number of steps in all, instead of the config's; with more than the run in the workdir had, it goes on.",
    1,
    flag_values=FLAGS,
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Weights to start a new run from: an export, the folder of a finished run, or a Model Garden checkpoint. "
    "`python -m must_tf.experiments.huggingface` makes one from an EfficientNet of Hugging Face.",
    flag_values=FLAGS,
)
_KEEP_HEADS = flags.DEFINE_bool(
    "keep_heads",
    False,
    "Also start from the heads of the finished run --init_from, of the tasks that both have: those of the same classes "
    "and conventions.",
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
_CACHE = flags.DEFINE_float(
    "cache_gb", 20.0, "GB on this disk for copies of the records that lie in buckets.", 0, flag_values=FLAGS
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
_PRICES = flags.DEFINE_string(
    "prices",
    None,
    "For --plan: FILE.yaml with prices, of which the docs have an example; prints what the run costs with its records "
    "in a bucket.",
    flag_values=FLAGS,
)


def run(argv: list[str]) -> None:
    """Runs `must train`."""
    rest, overrides = app.split_fields(argv)
    urls = ["config", "workdir", "init_from"]
    app.run("must train", __doc__, FLAGS, lambda: main(overrides), rest, urls)


def main(overrides: dict[str, str]) -> None:
    """Trains, or computes what that would take."""
    from must_tf.pricing import bill, priced
    from must_tf.training import plan
    from must_tf.training.strategy import LOST, MULTIWORKER, rejoin
    from must_tf.verbs.training import resolved, train

    if not _WORKDIR.value and not (_PLAN.value and _CONFIG.value):
        raise UserError(f"--workdir: not given; expected: {FLAGS['workdir'].help}")
    for flag in (_PRICES, _ACCELERATORS, _ACCELERATOR, _UTILIZATION):
        if flag.present and not _PLAN.value:
            raise UserError(f"--{flag.name}: received without --plan; give both, or neither")
    start = {"steps": _STEPS.value, "init_from": _INIT_FROM.value, "keep_heads": _KEEP_HEADS.value}
    experiment = resolved(_CONFIG.value, _WORKDIR.value, **start, scale=_SCALE.value, overrides=overrides)
    if _PLAN.value:
        prices = priced(_PRICES.value, _ACCELERATOR.value) if _PRICES.value else None
        forecast = plan(experiment, app.numbers(_ACCELERATORS, int, 1), _ACCELERATOR.value, _UTILIZATION.value)
        print(forecast)
        for row in forecast.rows:
            if prices and row.hours > 0:  # and not NaN, where the batch cannot be divided
                print(f"\n{row.accelerators} of {_ACCELERATOR.value}, by {_PRICES.value}:")
                print(bill(forecast.usage(row, _CACHE.value), prices))
        return
    try:
        train(experiment, _WORKDIR.value, resume=_RESUME.value, cache_gb=_CACHE.value)
    except LOST as error:
        if experiment.strategy != MULTIWORKER:
            raise
        rejoin(error)
    print(f"{_WORKDIR.value}/student: the finished student")
