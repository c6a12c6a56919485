"""Finds the workers of a training where TF_CONFIG is not set: from the environment of Slurm or a Kubernetes JobSet.

Ray's `TensorflowTrainer` sets TF_CONFIG itself; `tf_config` makes it of addresses that a script has gathered.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver  # its functions have no public names

from must_tf.errors import UserError
from must_tf.parsing import load_object, parse, short

VARIABLE = "TF_CONFIG"
PORT = "MUST_TF_PORT"  # of the first worker on a machine
WORKERS = "MUST_TF_WORKERS"  # of a JobSet, which does not say itself how many pods there are
WAIT = "MUST_TF_WAIT"  # seconds for which a worker waits for the others
_PORT, _PORTS = 2222, range(1, 2**16)
_WAIT = 1800
_OF_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_NODEID", "SLURM_LOCALID")
_PLACE = re.compile(r"(?:[^:\s]+|\[[^\[\]\s]+\]):([0-9]{1,5})")  # HOST:PORT
_INSTEAD = f"set {VARIABLE} in each task instead"


def tf_config(workers: Sequence[str], index: int) -> str:
    """Returns the TF_CONFIG of one of several workers.

    Args:
      workers: HOST:PORT of each, in the same order everywhere.
      index: of this worker.
    """
    return json.dumps({"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": index}})


def found(environment: Mapping[str, str]) -> str | None:
    """Returns the TF_CONFIG of this process: as it is set, or from what Slurm or a JobSet says; None without any.

    Raises:
      UserError: names a variable that is missing or wrong.
    """
    if VARIABLE in environment:
        _check(environment[VARIABLE])
        return environment[VARIABLE]
    if "SLURM_STEP_NODELIST" in environment:
        return of_slurm(environment)
    return of_jobset(environment) if "JOBSET_NAME" in environment else None


def seconds_to_wait(environment: Mapping[str, str]) -> int:
    """Returns for how many seconds a worker waits for the others.

    Raises:
      UserError: the variable is no whole number.
    """
    return _number(environment, WAIT, "the script") if WAIT in environment else _WAIT


def _check(config: str) -> None:
    """Raises a `UserError` if a TF_CONFIG names no workers, which TensorFlow takes for one, or no place of a worker."""
    value = load_object(config, VARIABLE)
    jobs = parse(dict[str, list[str]], value.get("cluster"), VARIABLE, "cluster")
    if set(jobs) != {"worker"}:
        raise UserError(f"{VARIABLE}: cluster: {', '.join(jobs) or 'no job'} received; expected worker alone")
    for place, address in enumerate(jobs["worker"]):
        port = _PLACE.fullmatch(address)
        if not port or int(port[1]) not in _PORTS:
            raise UserError(
                f"{VARIABLE}: cluster.worker[{place}]: {short(address)} received; expected HOST:PORT, a port of "
                f"{_PORTS[0]} to {_PORTS[-1]}"
            )
    told = parse(dict[str, Any], value.get("task"), VARIABLE, "task")
    if told.get("type") != "worker":
        raise UserError(f"{VARIABLE}: task.type: {short(told.get('type'))} received; expected worker")
    index = parse(int, told.get("index"), VARIABLE, "task.index")
    if not 0 <= index < len(jobs["worker"]):
        raise UserError(f"{VARIABLE}: task.index: {index} received; expected 0 to {len(jobs['worker']) - 1}")


def of_slurm(environment: Mapping[str, str]) -> str:
    """Returns the TF_CONFIG of a task of `srun`: one worker for each task of the step, in the order of their ranks.

    The tasks of a node listen on ports in a row.
    """
    nodes = _text(environment, "SLURM_STEP_NODELIST", "srun")
    tasks = _text(environment, "SLURM_STEP_TASKS_PER_NODE", "srun")
    rank, count, node, task = (_number(environment, name, "srun") for name in _OF_SRUN)
    told = f"SLURM_STEP_NODELIST={nodes}, SLURM_STEP_TASKS_PER_NODE={tasks}"
    try:
        hosts = slurm_cluster_resolver.expand_hostlist(nodes)
        each = slurm_cluster_resolver.expand_tasks_per_node(tasks)
    except ValueError:
        raise UserError(f"{told}: cannot be read; {_INSTEAD}") from None
    if len(hosts) != len(each) or sum(each) != count:
        raise UserError(
            f"{told}: {len(hosts)} nodes and {sum(each)} tasks, expected {count} tasks (SLURM_STEP_NUM_TASKS); "
            f"{_INSTEAD}"
        )
    port = _port(environment)
    places = [(host, of_host) for host, number in enumerate(each) for of_host in range(number)]
    config = _of_rank([f"{hosts[host]}:{port + of_host}" for host, of_host in places], rank, "SLURM_PROCID")
    if places[rank] != (node, task):  # its address would be that of another machine
        raise UserError(
            f"SLURM_PROCID={rank}: is task {task} of node {node}, expected task {places[rank][1]} of node "
            f"{places[rank][0]}, as with srun --distribution=block; give that, or {_INSTEAD}"
        )
    return config


def of_jobset(environment: Mapping[str, str]) -> str:
    """Returns the TF_CONFIG of a pod of a JobSet: one worker for each pod of the replicated job, which is indexed.

    JOBSET_NAME, JOBSET_JOB (the replicated job) and MUST_TF_WORKERS come from the manifest, and JOB_COMPLETION_INDEX
    from Kubernetes. Pods find one another by the names that JobSet gives them.
    """
    name, job = (_text(environment, variable, "the JobSet") for variable in ("JOBSET_NAME", "JOBSET_JOB"))
    count, index = (_number(environment, variable, "the JobSet") for variable in (WORKERS, "JOB_COMPLETION_INDEX"))
    port = _port(environment)
    workers = [f"{name}-{job}-0-{pod}.{name}:{port}" for pod in range(count)]
    return _of_rank(workers, index, "JOB_COMPLETION_INDEX")


def _of_rank(workers: Sequence[str], rank: int, variable: str) -> str:
    if rank >= len(workers):
        raise UserError(f"{variable}={rank}: expected a number below {len(workers)}, the number of workers")
    return tf_config(workers, rank)


def _text(environment: Mapping[str, str], name: str, sets: str) -> str:
    if not environment.get(name):
        raise UserError(f"{name}: is not set; {sets} sets it, or set {VARIABLE} in each process")
    return environment[name]


def _number(environment: Mapping[str, str], name: str, sets: str) -> int:
    text = _text(environment, name, sets)
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name}={text}: expected a whole number")
    return int(text)


def _port(environment: Mapping[str, str]) -> int:
    port = _number(environment, PORT, "the script") if PORT in environment else _PORT
    if port not in _PORTS:
        raise UserError(f"{PORT}={port}: expected a port of {_PORTS[0]} to {_PORTS[-1]}")
    return port
