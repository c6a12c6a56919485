"""Scores the heads of a finished run on a dataset, by the standard metrics of each task.

It prints the scores and writes them as JSON. Shares are printed in percent and stored as fractions. Other scores have
their unit. An arrow marks metrics of which lower is better.

    must evaluate --workdir=runs/student --data=data/test
"""

from pathlib import Path

from absl import flags

from must_tf.cli import app
from must_tf.cli.teacher_flags import EVALUATION

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.", flag_values=FLAGS)
_DATA = flags.DEFINE_string(
    "data", None, "Folder of records; by default the config's `test`, else its `validation`.", flag_values=FLAGS
)
_TASKS = flags.DEFINE_list(
    "tasks",
    None,
    "Names of tasks, separated by commas; by default all tasks that both the student and the records have.",
    flag_values=FLAGS,
)
_SIZE = flags.DEFINE_list(
    "size",
    None,
    "HEIGHT,WIDTH to which images are resized, or one number for both; by default the config's.",
    flag_values=FLAGS,
)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images per batch.", 1, flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "JSON file to write; by default WORKDIR/evaluation.json.", flag_values=FLAGS)
flags.mark_flag_as_required("workdir", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must evaluate`."""
    app.run("must evaluate", __doc__, FLAGS, main, argv)


def main() -> None:
    """Evaluates the student, prints its scores and writes them."""
    from must_tf.errors import UserError
    from must_tf.inference import evaluate
    from must_tf.parsing import read_json
    from must_tf.records import open_dataset
    from must_tf.report.words import LOWER, metric_name, score_words
    from must_tf.saving import CONFIG, WEIGHTS, read_input_size
    from must_tf.storage import sha256, without_nan, write_json
    from must_tf.training import load_student

    student = load_student(_WORKDIR.value)
    config = read_json(Path(_WORKDIR.value, CONFIG))
    data = _DATA.value or config.get("test") or config.get("validation")
    if not data:
        raise UserError("--data: not given, and the config has no `test` or `validation`; expected a folder of records")
    size = app.numbers(_SIZE, int, 32) if _SIZE.value else read_input_size(_WORKDIR.value)
    if len(size) > 2:
        raise UserError(
            f"--size: {','.join(_SIZE.value)!r} received, expected height and width, or one number for both"
        )
    height, width = size[0], size[-1]
    scores = evaluate(student, open_dataset(data), (height, width), _TASKS.value or None, _BATCH.value)
    out = _OUT.value or Path(_WORKDIR.value, EVALUATION)
    weights = sha256(Path(_WORKDIR.value, WEIGHTS))
    result = {"workdir": _WORKDIR.value, "sha256": weights, "data": data, "size": [height, width], "scores": scores}
    write_json(out, without_nan(result))
    for name, values in scores.items():
        declared = {score.name: score for score in student.tasks[name].scores}
        said = [f"{metric_name(declared[key])} {score_words(value, declared[key])}" for key, value in values.items()]
        print(f"{name}: {'  '.join(said)}")
    print(f"{LOWER}: lower is better")
    print(f"{out}: the same as JSON")
