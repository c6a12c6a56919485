"""Trains a task of your own, starting from the trunk of an export or of a finished run.

The trunk's architecture comes from --init_from. Any other field of the config can be changed, as in `must train`. The
same command continues a killed run.

    must finetune --config=rooms/downstream.py:normals --init_from=demo/export --workdir=runs/normals
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config", None, "Config of the experiment: FILE.py, or FILE.py:ARGUMENT.", flag_values=FLAGS
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Weights to start from: an export, or the folder of a finished run.", flag_values=FLAGS
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the files of the run.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the number of steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "init_from", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must finetune`."""
    rest, overrides = app.split_fields(argv)
    app.run("must finetune", __doc__, FLAGS, lambda: main(overrides), rest)


def main(overrides: dict[str, str]) -> None:
    """Fine-tunes."""
    from must_tf.training import finetune, load_config

    finetune(load_config(_CONFIG.value, overrides, _SCALE.value), _INIT_FROM.value, _WORKDIR.value)
    print(f"{_WORKDIR.value}/student: the fine-tuned model")
