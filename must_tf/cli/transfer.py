"""Fine-tunes one task from several initialisations with the same budget, and compares their scores.

--inits=random=,mine=runs/student,theirs=exports/other : an empty path is a random start. Any field of the config can be
changed, as in `must train`.
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string("config", None, "FILE.py or FILE.py:ARGUMENT, with one task.", flag_values=FLAGS)
_INITS = flags.DEFINE_list("inits", None, "NAME=PATH, with commas between.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the runs and transfer.json are.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds, with commas between.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "inits", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must transfer`."""
    rest, overrides = app.split_config(argv)
    app.run("transfer", __doc__, FLAGS, lambda: main(overrides), rest)


def main(overrides: dict[str, str]) -> None:
    """Fine-tunes and scores."""
    from must_tf.errors import UserError
    from must_tf.evaluation import transfer
    from must_tf.training import load_config

    inits = {}
    for text in _INITS.value:
        name, equals, path = text.partition("=")
        if not (name and equals) or name in inits:
            raise UserError(f"--inits: {text!r} received, expected NAME=PATH, a name once; an empty path is random")
        inits[name] = path
    if not all(seed.isdigit() for seed in _SEEDS.value):
        raise UserError(f"--seeds: {','.join(_SEEDS.value)!r} received, expected whole numbers")
    seeds = [int(seed) for seed in _SEEDS.value]
    result = transfer(load_config(_CONFIG.value, overrides, _SCALE.value), inits, _WORKDIR.value, seeds)
    for name, values in result["scores"].items():
        print(f"{name}: {result['metric']} " + " ".join(f"{value:.4f}" for value in values))
