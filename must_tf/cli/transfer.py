"""Fine-tunes downstream tasks from several initializations with the same sweep and budget, and compares their scores.

--init_from=random=,mine=runs/student-{seed},theirs=exports/other : an empty path is a random start, and {seed} becomes
the seed of the fine-tuning. --config may be given several times, one task each; any field of all of them can be
changed, as in `must train`. With several --learning_rates or --steps, the first seed tries them all. The setting that
is best on the config's `validation` set is taken for the other seeds; scores are those on its `test` set. Which
direction of a score is better is declared by its task. Each fine-tuning leaves a JSON file in --workdir; a killed
command goes on where it was.
"""

import shlex

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_multi_string("config", None, "FILE.py or FILE.py:ARGUMENT, with one task.", flag_values=FLAGS)
_INIT_FROM = flags.DEFINE_list("init_from", None, "NAME=PATH, with commas between.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the cells and of transfer.json.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds, with commas between.", flag_values=FLAGS)
_RATES = flags.DEFINE_list("learning_rates", [], "To be tried; that of the config by default.", flag_values=FLAGS)
_STEPS = flags.DEFINE_list("steps", [], "To be tried; those of the config by default.", flag_values=FLAGS)
_REFERENCE = flags.DEFINE_string(
    "reference", "", "Which initialization the others are compared with; the first by default.", flag_values=FLAGS
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the config's steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
_SETTINGS = flags.DEFINE_string(
    "settings_of",
    None,
    "Workdir of an earlier transfer: each initialization takes the learning rate and steps chosen for it there, in "
    "place of --learning_rates and --steps. For final figures, on training and validation set together.",
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
        raise UserError("--settings_of: received with --learning_rates or --steps, in whose place it is; give one")
    seeds, settings_of = app.numbers(_SEEDS, int, 0), _SETTINGS.value
    table = transfer(experiments, inits, _WORKDIR.value, seeds, sweep, _REFERENCE.value, command, settings_of)
    print(transfer_table(table))
