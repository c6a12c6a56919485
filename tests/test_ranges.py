import dataclasses
import math
import typing

import numpy as np
import pytest
import specimens
import toy

import must_tf
from must_tf import verbs
from must_tf.convert import Selection
from must_tf.errors import UserError
from must_tf.evaluation import Sweep
from must_tf.experiments.simclr import SimCLR
from must_tf.parsing import FrozenDict
from must_tf.pipeline import Augment, Mixing, Strong
from must_tf.ranges import check_range
from must_tf.training import Balance, Combine, Experiment, Optimizer
from must_tf.training.config import Guard
from must_tf.trunk import Trunk

TREE = {
    **{kind: kind() for kind in (Optimizer, Balance, Combine, Guard, Trunk, Augment, Strong, Mixing)},
    Experiment: toy.experiment("a"),
    SimCLR: SimCLR(**vars(toy.experiment("a"))),
}
TASKS = [specimen.tasks[0] for specimen in specimens.SPECIMENS.values()]
CHECKED_TOGETHER = ("input_size", "sizes")


def numeric_fields(instance):
    """Yields the fields of a dataclass that hold numbers, each with a value that is none."""
    hints = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        kinds = {hints[field.name], *typing.get_args(hints[field.name])}
        if not kinds & {int, float} and "float" not in str(hints[field.name]):
            continue
        value = getattr(instance, field.name)
        if field.name not in CHECKED_TOGETHER:
            many = (
                {"x": math.nan}
                if isinstance(value, dict)
                else (math.nan,) * max(len(value), 1)
                if isinstance(value, tuple)
                else math.nan
            )
            yield field.name, many


@pytest.mark.parametrize("instance", [*TREE.values(), *TASKS], ids=lambda one: type(one).__name__)
def test_each_number_of_a_config_and_of_a_task_has_a_range(instance):
    for name, no_number in numeric_fields(instance):
        assert name in instance.ranges
        with pytest.raises(UserError, match=rf"{name}\S*: nan received, expected ") as error:
            dataclasses.replace(instance, **{name: no_number})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("instance", [*TREE.values(), *TASKS], ids=lambda one: type(one).__name__)
def test_fractions_are_no_whole_numbers(instance):
    """Two stages and a half would be one stage in silence."""
    for name in (field.name for field in dataclasses.fields(instance) if field.type is int):
        inside = 1.5 if name == "stages" else 3.5
        with pytest.raises(UserError, match=rf"{name}: {inside} received, expected "):
            dataclasses.replace(instance, **{name: inside})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: toy.experiment("a", batch_size=0), "^batch_size: 0 received, expected 1 or more$"),
        (lambda: toy.experiment("a", seed=-1), "^seed: -1 received, expected 0 to 4294967295$"),
        (lambda: Optimizer(momentum=1), "^optimizer.momentum: 1 received, expected 0 or more, and below 1$"),
        (lambda: Optimizer(learning_rate=math.inf), "^optimizer.learning_rate: inf received, expected 0 or more$"),
        (lambda: Balance(weights={"depth": -1}), "^balance.weights.depth: -1 received, expected 0 or more$"),
        (lambda: Balance(recipes={"a": (0, 0.1)}), r"^balance.recipes.a\[0\]: 0 received, expected above 0$"),
        (lambda: Combine(hurting=math.nan), "^combine.hurting: nan received, expected a finite number$"),
        (lambda: Trunk(num_filters=0), "^trunk.num_filters: 0 received, expected 1 or more$"),
        (lambda: Augment(scale=(0, 1)), r"^augment.scale\[0\]: 0 received, expected above 0$"),
        (lambda: Augment(scale=(2, 1)), r"^augment.scale: \(2, 1\) received, expected the lowest factor, then"),
        (lambda: dataclasses.replace(toy.THINGS, max_boxes=0), "^task 'things': max_boxes: 0 received, expected 1 or"),
        (lambda: dataclasses.replace(toy.THINGS, aspect_ratios=()), "^task 'things': aspect_ratios: none received"),
        (lambda: dataclasses.replace(toy.STUFF, min_score=2), "^task 'stuff': min_score: 2 received, expected 0 to 1$"),
    ],
)  # fmt: skip
def test_configs_made_in_python_are_refused_at_once_in_one_line(make, said):
    with pytest.raises(UserError, match=said):
        make()


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5, np.float32(0), np.nextafter(1, 0)), (-1e-9, 1, 2, np.int64(1))),
        ("(0, 1]", (1e-9, 1), (0, 1.001, -math.inf)),
        ("[1, inf)", (1, 10**400), (0, math.inf, -(10**400))),
        ("(-inf, inf)", (-5, 5), (math.nan, math.inf, -math.inf)),
    ],
)
def test_ends_of_an_interval_belong_to_it_or_not(interval, inside, outside):
    for value in inside:
        check_range("x", value, interval)
        check_range("x", FrozenDict(a=(value, None, True, "text")), interval)
    for value in outside:
        for whole in (value, (value,), {"a": [inside[0], value]}):
            with pytest.raises(UserError, match=r"^x\S* \S+ received, expected "):
                check_range("x", whole, interval)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verbs.label("x", out="y", batch_size=0), "^--batch_size: 0 received, expected 1 or more$"),
        (lambda: verbs.label("x", out="y", images_per_shard=0), "^--images_per_shard: 0 received, expected 1 or more$"),
        (lambda: verbs.label("x", out="y", max_bad=2), "^--max_bad: 2 received, expected 0 to 1$"),
        (lambda: verbs.label("x", out="y", max_pixels=0), "^--max_pixels: 0 received, expected 1 or more$"),
        (lambda: verbs.label("x", out="y", processes=-1), "^--processes: -1 received, expected 0 or more$"),
        (lambda: verbs.evaluate("x", "y", batch_size=0), "^--batch_size: 0 received"),
        (lambda: verbs.rounds("x", "y", "z", batch_size=0), "^--batch_size: 0 received"),
        (lambda: verbs.rounds("x", "y", "z", max_bad=-0.5), "^--max_bad: -0.5 received"),
        (lambda: verbs.inspect("x", pictures=-1), "^--pictures: -1 received"),
        (lambda: verbs.inspect("x", shards=0), "^--shards: 0 received, expected 1 or more$"),
        (lambda: verbs.weigh("x", "y", head_steps=0), "^--head_steps: 0 received, expected 1 or more$"),
        (lambda: must_tf.batches("x", batch_size=0), "^batch_size: 0 received, expected 1 or more$"),
        (lambda: verbs.export("x", "y", litert_images=0), "^--litert_images: 0 received"),
        (lambda: verbs.train(toy.experiment("a"), "x", scale=0), "^--scale: 0 received, expected above 0$"),
        (lambda: verbs.train(toy.experiment("a"), "x", scale=math.nan), "^--scale: nan received"),
        (lambda: verbs.train(toy.experiment("a"), "x", steps=0), "^steps: 0 received"),
        (lambda: verbs.finetune(toy.experiment("a"), "x", "y", cache_gb=-1), "^--cache_gb: -1 received"),
        (lambda: Sweep((0.1, -0.1)), r"^--learning_rates\[1\]: -0.1 received, expected above 0$"),
        (lambda: Sweep(steps=(0,)), r"^--steps\[0\]: 0 received, expected 1 or more$"),
        (lambda: Selection(min_score=2), "^--min_score: 2 received, expected 0 to 1$"),
        (lambda: Selection(count=-1), "^--count: -1 received, expected 0 or more$"),
    ],
)
def test_functions_of_the_verbs_refuse_numbers_as_their_flags_do(call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        call()
    assert not any(tmp_path.iterdir())
