"""Trains a student, or a teacher (a student with one task), from a config; takes a killed run up again.

Any field of the config can be changed: --config.steps=100 --config.optimizer.learning_rate=0.3
--config.train=DIR,DIR --config.tasks.TASK.FIELD=VALUE.
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string("config", None, "FILE.py or FILE.py:ARGUMENT.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run's files are.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must train`."""
    rest, overrides = app.split_config(argv)
    app.run("train", __doc__, FLAGS, lambda: main(overrides), rest)


def main(overrides: dict[str, str]) -> None:
    """Trains."""
    from must_tf.training import load_config, train

    train(load_config(_CONFIG.value, overrides, _SCALE.value), _WORKDIR.value)
    print(f"{_WORKDIR.value}/student: the finished student")
