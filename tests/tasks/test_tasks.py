"""Tests of the registry of kinds, and of tasks from JSON."""

import json

import pytest
import toy

from must_tf.errors import UserError
from must_tf.tasks import from_json, to_json, with_defaults


def test_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'segmentation'"):
        from_json({"kind": "segmentaton", "name": "x"})


def test_unknown_field_names_the_nearest():
    with pytest.raises(UserError, match=r"'things'.*'min_scor'.*did you mean 'min_score'"):
        from_json(to_json(toy.THINGS) | {"min_scor": 0.5})


def test_a_task_of_fewer_fields_has_their_defaults_wherever_it_stands():
    whole = json.loads(json.dumps(to_json(toy.THINGS)))
    fewer = {name: value for name, value in whole.items() if name not in ("stages", "num_proposals")}
    assert fewer != whole == with_defaults(fewer)
    beside = {"kind": "photographs", "name": "none", "of": 3}
    told = with_defaults({"teachers": {"a": {"members": [{"task": fewer}, beside]}}})
    assert told == {"teachers": {"a": {"members": [{"task": whole}, beside]}}}
