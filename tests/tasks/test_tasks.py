"""Tests of the registry of kinds, and of tasks from JSON."""

import pytest
import toy

from must_tf.errors import UserError
from must_tf.tasks import from_json, to_json


def test_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'segmentation'"):
        from_json({"kind": "segmentaton", "name": "x"})


def test_unknown_field_names_the_nearest():
    with pytest.raises(UserError, match=r"'things'.*'min_scor'.*did you mean 'min_score'"):
        from_json(to_json(toy.THINGS) | {"min_scor": 0.5})
