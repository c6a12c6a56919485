"""Fine-tunes downstream tasks from several initializations with the same sweep and budget, and compares their scores.

    must transfer --config=rooms/finetuning.py:normals --workdir=transfer --seeds=0,1,2 --learning_rates=0.05,0.2 \\
        --init_from=random=,mine=runs/student-{seed},theirs=exports/other

An empty path is a random start. {seed} becomes the seed of the fine-tuning. --config may be repeated, with one task
each. Fields of all configs can be changed, as in `must train`.

With several --learning_rates or --steps, the first seed tries all of them. The other seeds use the setting that is best
on the config's `validation` set. Scores are those on its `test` set. Each metric declares whether higher or lower is
better. Each fine-tuning leaves a JSON file in the workdir. The same command continues a killed one.
"""

import shlex

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_multi_string(
    "config", None, "Config with one task: FILE.py, or FILE.py:ARGUMENT", flag_values=FLAGS
)
_INIT_FROM = flags.DEFINE_list(
    "init_from", None, "NAME=PATH of initializations, separated by commas.", flag_values=FLAGS
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for the JSON files of the fine-tunings and for transfer.json.", flag_values=FLAGS
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds, separated by commas.", flag_values=FLAGS)
_RATES = flags.DEFINE_list(
    "learning_rates", [], "Learning rates to try, separated by commas; by default the config's.", flag_values=FLAGS
)
_STEPS = flags.DEFINE_list(
    "steps", [], "Numbers of steps to try, separated by commas; by default the config's.", flag_values=FLAGS
)
_REFERENCE = flags.DEFINE_string(
    "reference",
    "",
    "Name of the initialization that the others are compared with; by default the first.",
    flag_values=FLAGS,
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the config's number of steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
_SETTINGS = flags.DEFINE_string(
    "settings_of",
    None,
    "Workdir of an earlier transfer. Each initialization uses the learning rate and steps that were chosen for it "
    "there, instead of --learning_rates and --steps. For final figures, on training and validation set together.",
    flag_values=FLAGS,
)
flags.mark_flags_as_required(["config", "init_from", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must transfer`."""
    rest, overrides = app.split_fields(argv)
    app.run("must transfer", __doc__, FLAGS, lambda: main(overrides, shlex.join(["must", "transfer", *argv])), rest)


def main(overrides: dict[str, str], command: str) -> None:
    """Fine-tunes and scores."""
    from must_tf.errors import UserError
    from must_tf.evaluation import Sweep, transfer
    from must_tf.report import transfer_table
    from must_tf.training import load_config

    inits = {}
    for text in _INIT_FROM.value:
        name, equals, path = text.partition("=")
        if not (name and equals) or name in inits:
            raise UserError(f"--init_from: {text!r} received, expected NAME=PATH, a name once; an empty path is random")
        inits[name] = path
    experiments = [load_config(config, overrides, _SCALE.value) for config in _CONFIG.value]
    sweep = Sweep(app.numbers(_RATES, float, 1e-9), app.numbers(_STEPS, int, 1))
    if _SETTINGS.value and (_RATES.value or _STEPS.value):
        raise UserError("--settings_of: received with --learning_rates or --steps, which it replaces; give one of them")
    seeds, settings_of = app.numbers(_SEEDS, int, 0), _SETTINGS.value
    table = transfer(experiments, inits, _WORKDIR.value, seeds, sweep, _REFERENCE.value, command, settings_of)
    print(transfer_table(table))
