import pytest

from must_tf.cli.demo_stages import DOWNSTREAM
from must_tf.errors import UserError
from must_tf.experiments.rooms import downstream, finetuning, pretraining, replication, tables, teacher
from must_tf.sources.rooms.dataset import DOWNSTREAM_TASKS, SPLITS, TEACHER_TASKS
from must_tf.training.balance import task_weights

PLAN = replication.plan()
STAGES = {stage.name: stage for stage in PLAN}


def test_every_stage_comes_after_what_it_needs():
    done = set()
    for stage in PLAN:
        assert done.issuperset(stage.needs), stage
        done.add(stage.name)
    assert len(done) == len(PLAN) and len({stage.product for stage in PLAN}) == len(PLAN)


def test_what_stages_read_is_what_stages_before_them_write():
    written = {option.partition("=")[2] for stage in PLAN for option in stage.command if option[:6] == "--out="}
    rooms = {
        f"{folder}/{split}"
        for stage in PLAN
        if stage.command[0] == "rooms"
        for folder in written
        if f"--out={folder}" in stage.command
        for option in stage.command
        if option.startswith("--splits=")
        for split in option.partition("=")[2].split(",")
    }
    read = {folder for name in pretraining.RUNS for folder in pretraining.get_config(name).train}
    for task in DOWNSTREAM_TASKS:
        for count in ("", *map(str, replication.FEW)) if task in DOWNSTREAM else ("",):
            experiment = finetuning.get_config(f"{task},{count}" if count else task)
            read |= {*experiment.train, experiment.validation, experiment.test}
    assert read <= rooms | written
    assert {split.removeprefix("data/") for split in rooms} >= {
        f"rooms/downstream_{task}/test" for task in DOWNSTREAM_TASKS
    }
    assert all(split.split("/", 2)[2] in SPLITS for split in rooms)


def test_every_run_is_part_of_some_table():
    few_teachers = {f"teacher_{task}_{count}" for task in TEACHER_TASKS for count in pretraining.FEWER}
    compared = {init for table in tables.TABLES.values() for init in table.inits}
    made = {"random", replication.BACKBONE, *pretraining.RUNS} - few_teachers
    assert compared == made == {init for group in replication.GROUPS.values() for init in group}


@pytest.mark.parametrize("name", pretraining.RUNS)
def test_students_see_as_many_images_and_their_weights_can_be_computed(name):
    experiment = pretraining.get_config(f"{name},2")
    assert experiment.steps * experiment.batch_size == 64_000 * pretraining.RUNS[name].times and experiment.seed == 2
    weights = task_weights(experiment.balance, [task.name for task in experiment.tasks], experiment.batch_size, 0.2)
    assert set(weights.values()) <= {1.0, 3.0}


def test_no_test_set_is_trained_or_chosen_on():
    for task in DOWNSTREAM_TASKS:
        experiment = finetuning.get_config(task)
        assert len({*experiment.train, experiment.validation, experiment.test}) == 3


@pytest.mark.parametrize(
    ("module", "argument"),
    [(pretraining, "mst"), (pretraining, "must,x"), (finetuning, "nomals"), (downstream, "nomals"), (teacher, "dept")],
)
def test_unknown_argument_is_refused(module, argument):
    with pytest.raises(UserError, match="config argument"):
        module.get_config(argument)
