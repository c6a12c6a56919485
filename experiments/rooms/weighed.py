"""Config of the student with equal weights of its tasks, or with those that `must weigh` wrote.

    must train --config=rooms/weighed.py --workdir=runs/equal
    must weigh --workdir=runs/equal --target=data/rooms/downstream_normals/train --out=weights.json
    must train --config=rooms/weighed.py:weights.json --workdir=runs/weighed

Argument: the JSON file; without one, each task has a weight of 1.
"""

import dataclasses

from must_tf.experiments.rooms import student
from must_tf.parsing import parse, read_object
from must_tf.training import Balance, Experiment


def get_config(path: str = "") -> Experiment:
    """Returns the experiment of the student."""
    weights = parse(dict[str, float], read_object(path).get("weights"), path, "weights") if path else {}
    return dataclasses.replace(student.get_config(), balance=Balance(weights=weights))
