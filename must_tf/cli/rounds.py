"""Trains students in turn, each with the labels that the one before gave to images: iterated self-training.

    must rounds --config=mine.py --images=photos --out=runs/rounds --rounds=2

Round 0 trains the config on its own records. In each later round, the student of the round before labels the images,
and a new one learns from the config's records and from these labels. New labels of records that the config trains on
take their place; labels by people stay. All rounds are scored on the config's `test` set, else on its `validation` set.
The same command continues a killed one.

With --first=RUN, a finished run is round 0:

    must rounds --first=runs/student --images=data/photos --out=runs/rounds

--student=FILE.py gives the later rounds a config of their own, such as one with a larger trunk and stronger
augmentation (a "noisy student"). Its tasks and records are those of round 0. Fields of both can be changed, as in
`must train`.
"""

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import parse_thresholds, parse_tta
from must_tf.errors import UserError
from must_tf.verbs.teachers import BEST_ON

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Config of round 0: FILE.py, or FILE.py:ARGUMENT; by default that of the run --first.",
    flag_values=FLAGS,
)
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "What the students label: a folder, records, and all else that `must label` takes.",
    flag_values=FLAGS,
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder, here or in a bucket, for the workdirs round-N, the records labels-N, and the scores in rounds.json.",
    flag_values=FLAGS,
)
_ROUNDS = flags.DEFINE_integer("rounds", 1, "Number of students after that of round 0.", 1, flag_values=FLAGS)
_FIRST = flags.DEFINE_string("first", "", "A finished run that is round 0, instead of training one.", flag_values=FLAGS)
_STUDENT = flags.DEFINE_string(
    "student", None, "Config of all later rounds: FILE.py, or FILE.py:ARGUMENT; by default that of round 0.",
    flag_values=FLAGS,
)  # fmt: skip
_TTA = flags.DEFINE_multi_string(
    "tta", [], "Test-time augmentation of the students that label, such as flip,scales; see `must label`.",
    flag_values=FLAGS,
)  # fmt: skip
_THRESHOLDS = flags.DEFINE_list(
    "thresholds",
    [],
    "TASK.min_score=VALUE, or TASK=best:RECORDS, separated by commas; see `must label`. By default, those of objects "
    "are searched on the config's `validation` set, class by class.",
    flag_values=FLAGS,
)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images per call of a student that labels.", 1, flag_values=FLAGS)
_MAX_BAD = flags.DEFINE_float(
    "max_bad", 0.05, "Largest share of images that may be quarantined; more stop the rounds.", 0, 1, flag_values=FLAGS
)
_ALLOW_EMPTY = flags.DEFINE_bool(
    "allow_empty",
    False,
    "Accept a student that gives no label, or finds nothing in more than 98 of 100 images; by default an error.",
    flag_values=FLAGS,
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the numbers of steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)


def run(argv: list[str]) -> None:
    """Runs `must rounds`."""
    rest, overrides = app.split_fields(argv)
    urls = ["config", "images", "out", "first", "student"]
    app.run("must rounds", __doc__, FLAGS, lambda: main(overrides), rest, urls)


def main(overrides: dict[str, str]) -> None:
    """Trains and labels in turn, and prints the scores."""
    from must_tf.verbs import rounds

    for flag in (_IMAGES, _OUT):
        if not flag.value:
            raise UserError(f"--{flag.name}: not given; expected: {FLAGS[flag.name].help}")
    numbers, searched = parse_thresholds(_THRESHOLDS.value)
    if both := sorted({*numbers} & {*searched}):
        raise UserError(f"--thresholds: {both[0]}=best: received together with a number; give one of them")
    found = rounds(
        _CONFIG.value,
        _IMAGES.value,
        _OUT.value,
        _ROUNDS.value,
        first=_FIRST.value,
        student=_STUDENT.value,
        tta=parse_tta(_TTA.value),
        thresholds={**numbers, **{task: f"{BEST_ON}{where}" for task, where in searched.items()}},
        batch_size=_BATCH.value,
        max_bad=_MAX_BAD.value,
        allow_empty=_ALLOW_EMPTY.value,
        scale=_SCALE.value,
        overrides=overrides,
    )
    print(found)
    print(f"{found.path}: the same as JSON")
