"""Scores the heads of a finished run on a dataset, by the standard metrics of each task.

It prints the scores and writes them as JSON. Shares are printed in percent and stored as fractions. Other scores have
their unit. An arrow marks metrics of which lower is better.

    must evaluate --workdir=runs/student --data=data/test

With --knn it also classifies images by their 20 nearest neighbors in the features of the backbone, the number by which
backbones are compared first. The student needs no head of these classes.

    must evaluate --workdir=runs/student --data=data/test --knn=data/train
"""

from absl import flags

from must_tf.cli import app

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
_KNN = flags.DEFINE_string(
    "knn", None, "Folder of records with classes: the images among which neighbors are looked for.", flag_values=FLAGS
)
_OUT = flags.DEFINE_string("out", None, "JSON file to write; by default WORKDIR/evaluation.json.", flag_values=FLAGS)
flags.mark_flag_as_required("workdir", flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must evaluate`."""
    urls = ["workdir", "data", "knn", "out"]
    app.run("must evaluate", __doc__, FLAGS, main, argv, urls)


def main() -> None:
    """Evaluates the student, prints its scores and writes them."""
    from must_tf.verbs import evaluate

    size = app.numbers(_SIZE, int, 32) if _SIZE.value else None
    found = evaluate(
        _WORKDIR.value, _DATA.value or "", size, _TASKS.value, _BATCH.value, _OUT.value or "", _KNN.value or ""
    )
    print(found)
    print(f"{found.path}: the same as JSON")
