"""Fine-tunes downstream tasks from several initializations with the same sweep and budget, and compares their scores.

    must transfer --config=rooms/finetuning.py:normals --workdir=transfer --seeds=0,1,2 --learning_rates=0.05,0.2 \\
        --init_from=random=,mine=runs/student-{seed},theirs=exports/other

An empty path is a random start. {seed} becomes the seed of the pre-training: one of --pretraining_seeds, each of which
is fine-tuned with each of --seeds. Without them it is the seed of the fine-tuning. --config may be repeated, with one
task each. Fields of all configs can be changed, as in `must train`.

With several --learning_rates or --steps, the first seed tries all of them. The other seeds use the setting that is best
on the config's `validation` set. Scores are those on its `test` set. Each metric declares whether higher or lower is
better. Each fine-tuning leaves a JSON file in the workdir. The same command continues a killed one.

The table says whether the last initialization is ahead of the reference, behind, or neither is established: by a paired
t-test over pre-trainings, two-sided 5 %, first on the primary endpoint and then on the rest by Holm's correction. With
one pre-training there is no verdict.
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
_OUT = flags.DEFINE_string("out", "", "JSON file of the table; by default WORKDIR/transfer.json.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds, separated by commas.", flag_values=FLAGS)
_PRETRAININGS = flags.DEFINE_list(
    "pretraining_seeds",
    [],
    "Seeds of pre-training that {seed} stands for; by default, those of the fine-tuning.",
    flag_values=FLAGS,
)
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
_PRIMARY = flags.DEFINE_string(
    "primary", "mean", "Primary endpoint: `mean`, or a task. The workdir keeps it.", flag_values=FLAGS
)
_EXTEND = flags.DEFINE_bool(
    "extend_sweep",
    False,
    "Where a chosen setting lies on the edge of the sweep, go on beyond it, in the ratio of the last two values, until "
    "none does; by four values at most.",
    flag_values=FLAGS,
)
_BUDGETS = flags.DEFINE_string(
    "budgets",
    None,
    'JSON file with what it took to make the initializations, teachers included: {"NAME": {"images": 64000, "minutes": '
    '9.5, "human_labels": 4000}}. What is missing is not stated.',
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
_CACHE = flags.DEFINE_float(
    "cache_gb", 20.0, "GB on this disk for copies of the records that lie in buckets.", 0, flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "init_from", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must transfer`."""
    rest, overrides = app.split_fields(argv)
    urls = ["config", "init_from", "workdir", "out", "settings_of"]
    app.run(
        "must transfer", __doc__, FLAGS, lambda: main(overrides, shlex.join(["must", "transfer", *argv])), rest, urls
    )


def main(overrides: dict[str, str], command: str) -> None:
    """Fine-tunes and scores."""
    from must_tf.errors import UserError
    from must_tf.evaluation import Budget
    from must_tf.parsing import parse, read_object
    from must_tf.report import transfer_table
    from must_tf.verbs import transfer

    inits = {}
    for text in _INIT_FROM.value:
        name, equals, path = text.partition("=")
        if not (name and equals) or name in inits:
            raise UserError(f"--init_from: {text!r} received, expected NAME=PATH, a name once; an empty path is random")
        inits[name] = path
    told = read_object(_BUDGETS.value) if _BUDGETS.value else {}
    table = transfer(
        _CONFIG.value,
        inits,
        _WORKDIR.value,
        app.numbers(_SEEDS, int, 0),
        pretraining_seeds=app.numbers(_PRETRAININGS, int, 0),
        learning_rates=app.numbers(_RATES, float, 1e-9),
        steps=app.numbers(_STEPS, int, 1),
        reference=_REFERENCE.value,
        primary=_PRIMARY.value,
        extend_sweep=_EXTEND.value,
        budgets={name: parse(Budget, value, f"{_BUDGETS.value}: {name}") for name, value in told.items()},
        scale=_SCALE.value,
        settings_of=_SETTINGS.value,
        out=_OUT.value,
        overrides=overrides,
        cache_gb=_CACHE.value,
        command=command,
    )
    print(transfer_table(table))
