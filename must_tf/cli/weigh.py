"""Weighs the tasks of a student by how much each one's gradient helps a task of your own.

    must weigh --workdir=runs/student --target=data/mine

The target is a few hundred labeled images of your own task, 32 at least, which the student is not trained on. It may be
new to the student: a head is trained for it, on the frozen trunk. Then the gradients that batches of the student's
records give the trunk are compared with the target's. The table has, for each task of the student:

* cosine: of the angle between the gradient of one of its batches and the target's. Above 0, a small step for the task
  helps the target. It is small where batches differ much; what counts is whether the interval lies above 0.
* interval: where the cosine lies, 95 %, over batches and over the target's images.
* energy: the share of its gradient's squared length that lies in what gradients of the target's images span, of either
  sign. It takes no part in the weight.
* share, weight: its share of the trunk's gradient and its weight in the loss, until now and new.

The new share of a task is proportional to the lower end of its interval, so that noise is not taken for help; a task
whose interval does not lie above 0 gets 0. The last line of the table is flags that `must train` takes. The same is
written as JSON. If no task is shown to help, that is an error.

The student may be one of a short run. At the end of a long one, gradients of its tasks are small and hold each other in
balance, so that less can be told from noise.
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of a finished run, whose tasks are weighed; it may be a short one.", flag_values=FLAGS
)
_TARGET = flags.DEFINE_string(
    "target",
    None,
    "Folder of records with labeled images of your own task. Of a large one, 1,024 images are measured.",
    flag_values=FLAGS,
)
_TASK = flags.DEFINE_string("task", "", "Name of the target's task, where its records have several.", flag_values=FLAGS)
_RECORDS = flags.DEFINE_list(
    "records",
    [],
    "Folders of records with labels of the student's tasks, separated by commas; by default those of its config.",
    flag_values=FLAGS,
)
_BATCHES = flags.DEFINE_integer(
    "batches", 32, "Batches of these records that are measured; more make the intervals shorter.", 2, flag_values=FLAGS
)
_BATCH = flags.DEFINE_integer(
    "batch_size", None, "Images of each batch; by default those of the student's config.", 1, flag_values=FLAGS
)
_STEPS = flags.DEFINE_integer(
    "head_steps", 100, "Steps that a head of the target is trained for, on each half of its images.", 1,
    flag_values=FLAGS,
)  # fmt: skip
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the heads, and of order and augmentation.", 0, flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "", "JSON file to write; by default WORKDIR/weights.json.", flag_values=FLAGS)
flags.mark_flags_as_required(["workdir", "target"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must weigh`."""
    app.run("must weigh", __doc__, FLAGS, main, argv, ["workdir", "target", "records", "out"])


def main() -> None:
    """Weighs the tasks, and prints the table."""
    from must_tf.verbs import weigh

    found = weigh(
        _WORKDIR.value,
        _TARGET.value,
        _RECORDS.value,
        task=_TASK.value,
        batches=_BATCHES.value,
        batch_size=_BATCH.value,
        head_steps=_STEPS.value,
        seed=_SEED.value,
        out=_OUT.value,
    )
    print(found)
    print(f"{found.path}: the same as JSON")
