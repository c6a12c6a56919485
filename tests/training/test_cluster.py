"""Workers are those that Slurm, a JobSet or Ray say: each knows all of them in the same order, and its own place."""

import json

import pytest

from must_tf.errors import UserError
from must_tf.training.cluster import found, tf_config

SLURM = {
    "SLURM_STEP_NODELIST": "n[9-10],gpu3",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "1",
}
JOBSET = {"JOBSET_NAME": "run", "JOBSET_JOB": "workers", "MUST_TF_WORKERS": "2", "JOB_COMPLETION_INDEX": "1"}


def read(environment):
    value = json.loads(found(environment))
    assert value["task"]["type"] == "worker"
    return value["cluster"]["worker"], value["task"]["index"]


def test_tasks_of_slurm_are_workers_in_the_order_of_their_ranks():
    workers = ["n9:2222", "n9:2223", "n10:2222", "n10:2223", "gpu3:2222"]  # and not in that of the names
    for rank, (node, task) in enumerate([("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"), ("2", "0")]):
        told = {"SLURM_PROCID": str(rank), "SLURM_NODEID": node, "SLURM_LOCALID": task}
        assert read(SLURM | told) == (workers, rank)
    assert read(SLURM | {"MUST_TF_PORT": "70"})[0][1] == "n9:71"


def test_pods_of_a_jobset_are_workers_under_the_names_that_it_gives_them():
    assert read(JOBSET) == (["run-workers-0-0.run:2222", "run-workers-0-1.run:2222"], 1)


def test_what_is_set_is_taken_as_it_is():
    of_ray = tf_config(["10.0.0.1:40001", "10.0.0.2:40001"], 1)  # as `TensorflowTrainer` sets it
    assert found(SLURM | JOBSET | {"TF_CONFIG": of_ray}) == of_ray
    assert read({"TF_CONFIG": of_ray}) == (["10.0.0.1:40001", "10.0.0.2:40001"], 1)
    assert read({"TF_CONFIG": tf_config(["[::1]:2222", "a-0.b:1"], 0)}) == (["[::1]:2222", "a-0.b:1"], 0)


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "3"}, {"JOB_COMPLETION_INDEX": "0"}])
def test_other_environments_name_no_workers(environment):
    assert found(environment) is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (SLURM | {"SLURM_PROCID": "5"}, "SLURM_PROCID=5: expected a number below 5"),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "4"}, "3 nodes and 5 tasks, expected 4"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": ""}, "SLURM_STEP_TASKS_PER_NODE: is not set"),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "many"},
            "SLURM_STEP_TASKS_PER_NODE=many: cannot be read; set TF_CONFIG in each",
        ),
        (SLURM | {"SLURM_STEP_NODELIST": "n[1-2]x[1-2]"}, r"SLURM_STEP_NODELIST=n\[1-2\]x\[1-2\], .*: cannot be read"),
        (SLURM | {"SLURM_NODEID": "0"}, "=3: is task 1 of node 0, expected task 1 of node 1, as with .*=block; give"),
        (SLURM | {"MUST_TF_PORT": "x"}, "MUST_TF_PORT=x: expected a whole number"),
        (SLURM | {"MUST_TF_PORT": "65536"}, "MUST_TF_PORT=65536: expected a port of 1 to 65535"),
        ({"JOBSET_NAME": "run"}, "JOBSET_JOB: is not set; the JobSet sets it"),
        (JOBSET | {"MUST_TF_WORKERS": "1"}, "JOB_COMPLETION_INDEX=1: expected a number below 1"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named(environment, said):
    with pytest.raises(UserError, match=said) as error:
        found(environment)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "not valid JSON"),
        ("[]", "expected names with values"),
        ("{}", "cluster: None received"),
        ('{"clusters": {"worker": ["a:1", "b:1"]}}', "cluster: None received"),
        ('{"cluster": {"worker": "a:1"}}', "cluster.worker: 'a:1' received; expected a list of texts"),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}', "chief, worker received; expected worker alone"),
        ('{"cluster": {"worker": ["a:1", "b"]}}', r"cluster.worker\[1\]: 'b' received; expected HOST:PORT"),
        ('{"cluster": {"worker": ["a:65536"]}}', r"worker\[0\]: 'a:65536' received; .*, a port of 1 to 65535"),
        ('{"cluster": {"worker": ["::1:22"]}}', r"worker\[0\]: '::1:22' received; expected HOST:PORT"),
        ('{"cluster": {"worker": ["a:1"]}, "task": 3}', "task: 3 received"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}', "task.type: None received"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}', "task.index: '0' received"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "index: 1 received; .* 0 to 0",
        ),
    ],
)
def test_what_is_set_by_hand_must_name_workers(config, said):
    with pytest.raises(UserError, match=f"^TF_CONFIG: .*{said}"):
        found({"TF_CONFIG": config})
