"""The loss of a batch is one mean over all its images, in however many parts and on however many devices."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
import toy_losses

from must_tf.tasks import Depth
from must_tf.tasks.detection import CROWD
from must_tf.tasks.loss import reduce_terms
from must_tf.training import Balance, Combine, Optimizer, combine
from must_tf.training.assembly import assemble
from must_tf.training.cost import _needed
from must_tf.training.strategy import distribute  # noqa: F401 (of the script below)

RULES = {
    "sum": {},
    "pcgrad": {"combine": Combine("pcgrad"), "balance": Balance("uncertainty")},
}
UNEVEN = (toy_losses.PIXELS, toy.DEPTH)
pytestmark = pytest.mark.usefixtures("eagerly")


def made(accumulate, rule="sum", tasks=UNEVEN):
    """A step of plain gradient descent, with weights that are always the same."""
    optimizer = Optimizer("sgd", 1.0, momentum=0.0, weight_decay=0.0, accumulate=accumulate)
    assembly = assemble(toy.experiment("nowhere", tasks=tasks, optimizer=optimizer, **RULES[rule]))
    rng = np.random.default_rng(0)
    for variable in assembly.student.trainable_variables:
        variable.assign(variable + 0 if "gamma" in variable.name else rng.normal(0, 0.1, variable.shape))
    return assembly


def batch():
    images, targets = toy_losses.uneven_batch()
    rng = np.random.default_rng(1)
    depth = [toy.view_target(toy.DEPTH, toy.random_label(toy.DEPTH, rng, 64, 64), 64, 64) for _ in range(len(images))]
    return images, targets | {"depth": toy.batch(depth)}


def stepped(assembly, images_and_targets=None):
    """The step's values, and how each variable moved."""
    variables = assembly.step.variables_in_order
    before = [variable.numpy() for variable in variables]
    values = {name: float(value) for name, value in assembly.step(images_and_targets or batch()).items()}
    return values, [variable.numpy() - start for variable, start in zip(variables, before, strict=True)]


def assert_same_step(one, other, added=()):
    """Only the order of summands may differ: float32 agrees to 1e-4 of the largest number that is added.

    That is each variable's largest gradient, unless `added` says more for the first variables: twice as much at most. A
    gradient is seen in how its variable moves, and a weight near 1 moves in steps of 1.2e-7.
    """
    assert one[0] == pytest.approx(other[0], rel=2e-5)
    largest = max(np.abs(moved).max() for moved in other[1])
    sizes = [np.abs(moved).max() for moved in other[1]]
    sizes[: len(added)] = np.minimum(added, 2 * np.array(sizes[: len(added)]))
    for mine, theirs, size in zip(one[1], other[1], sizes, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * size + 1e-7 * largest + 2.4e-7)


@pytest.fixture(scope="module")
def whole():
    return stepped(made(1))


@pytest.fixture(scope="module")
def whole_by_pcgrad():
    """A step, and for each variable of the trunk the largest number that PCGrad adds: a task's gradient, multiplied.

    The gradients oppose each other. PCGrad multiplies that of the shorter one by 3.7 here, and of what it adds half
    cancels. Rounding does not: the tasks' own gradients agree to 8e-5 of their largest, as they do with themselves if
    all weights move by half a unit in the last place.
    """
    assembly, sizes = made(1, "pcgrad"), []

    def watched(vectors, weights):
        sizes.append(tf.add_n([tf.abs(weight * vector) for vector, weight in zip(vectors, weights, strict=True)]))
        return weighted(vectors, weights)

    weighted = combine._weighted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combine, "_weighted", watched)
        done = stepped(assembly)
    (size,) = sizes
    return done, [np.max(part) for part in combine._apart(size, assembly.step.trunk)]


@pytest.mark.parametrize("accumulate", [2, 4])
def test_parts_with_different_counts_give_the_gradient_of_the_whole_batch(whole, accumulate):
    assert_same_step(stepped(made(accumulate)), whole)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_pcgrad_of_parts_is_that_of_the_whole_batch(whole_by_pcgrad, accumulate):
    assert_same_step(stepped(made(accumulate, "pcgrad")), *whole_by_pcgrad)


def test_loss_is_divided_by_the_counts_of_all_images(whole):
    """And the mean of the parts' own means is far from it."""
    task, (images, targets) = toy_losses.PIXELS, batch()
    student = made(1).student
    prediction = student(images, training=True)["stuff"]
    terms = task.loss(targets["stuff"], prediction)
    parts = [reduce_terms(task.loss({"mask": targets["stuff"]["mask"][i : i + 1]}, prediction[:1])) for i in range(4)]
    by_hand = sum(
        term.weight * tf.reduce_sum(term.sums) / (tf.reduce_sum(term.counts) + term.extra) for term in terms.values()
    )
    assert whole[0]["loss/stuff"] == pytest.approx(float(by_hand), rel=1e-4)
    assert abs(np.mean(parts) / float(by_hand) - 1) > 0.05
    assert terms["entropy"].counts.numpy().tolist() == [1, 40, 900, 4096]


def test_first_pass_for_the_counts_is_pruned():
    """Its convolutions stand in the graph, and nothing that the step returns or changes needs them."""
    step = made(2).step
    graph = step.__call__.get_concrete_function(batch()).graph
    convolutions = [op for op in graph.get_operations() if op.type.startswith("Conv2D")]
    assert convolutions and not set(convolutions) & _needed(graph)  # those of the parts are in the loop's own graph


def test_counts_that_a_head_decides_are_those_of_the_batch_and_statistics_move_once():
    ends, statistics = [], []
    for accumulate, task in ((1, toy_losses.SEEING), (2, toy_losses.SEEING), (2, toy.SCENE)):
        assembly = made(accumulate, tasks=(task, toy.DEPTH))
        values, _ = stepped(assembly)
        ends.append(values)
        statistics.append([variable.numpy() for variable in assembly.student.backbone.non_trainable_variables])
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)
    for seeing, other in zip(*statistics[1:], strict=True):
        np.testing.assert_allclose(seeing, other, rtol=1e-4, atol=1e-6)
    assert any(np.any(np.abs(a - b) > 1e-3) for a, b in zip(*statistics[:2], strict=True))  # two parts move them twice


def test_counts_that_a_head_decides_are_what_it_decides_in_the_parts():
    """Batch norms see other images in the whole batch, and a head may make something else of it."""
    images = tf.cast(tf.random.stateless_uniform([4, 64, 64, 3], [1, 2], 0, 256, tf.int32), tf.uint8)
    images //= tf.constant([1, 2, 4, 8], tf.uint8)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    assembly, scene = made(2, tasks=(toy_losses.SEEING,)), toy_losses.uneven_batch()[1]["scene"]

    def terms_of(first, last):
        targets = {"scene": {key: values[first:last] for key, values in scene.items()}}
        prediction = assembly.student(images[first:last], training=True, targets=targets)["scene"]
        term = toy_losses.SEEING.loss(targets["scene"], prediction)["entropy"]
        return np.array([tf.reduce_sum(term.sums), tf.reduce_sum(term.counts)])

    whole, (sums, counts) = terms_of(0, 4), terms_of(0, 2) + terms_of(2, 4)
    assert counts != pytest.approx(whole[1], rel=1e-3)
    values, _ = stepped(assembly, (images, {"scene": scene}))
    assert values["loss/scene"] == pytest.approx(sums / counts, rel=1e-5)


# Every kind

EVERY = (toy.SCENE, toy.THINGS, toy.STUFF, toy.DEPTH, Depth("inverse", "affine_inverse"), toy.NORMALS)


def hard_batch():
    """One image four times, with labels that are hard to divide by.

    Some are usual and some are absent. Boxes are none, or ignored. A map has no valid pixel, one, or a constant value.
    """
    rng = np.random.default_rng(2)
    scene, things, stuff, depth, inverse, normals = (toy.random_label(task, rng, *toy.VIEW) for task in EVERY)
    things = toy.random_label(toy.THINGS, np.random.default_rng(3), *toy.VIEW)
    assert len(things["boxes"]) > 2
    nothing = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}
    ignored = {"boxes": np.array([[0.0, 0.0, 0.7, 0.7], [0.5, 0.5, 0.9, 0.8]]), "classes": np.array([0, 1])}
    one = np.zeros(toy.VIEW, bool)
    one[9, 17] = True
    labels = {
        "scene": [scene, None, None, 1],
        "things": [things, nothing, None, ignored | {"ignore": np.array([CROWD, 0])}],
        "stuff": [stuff, np.full(toy.VIEW, -1), None, np.where(one, 1, -1)],
        "depth": [depth, None, depth[::-1], np.where(one, 3.0, np.nan)],
        "inverse": [inverse, np.ones(toy.VIEW), None, inverse[::-1]],
        "normals": [normals, None, normals * 0, np.where(one[..., np.newaxis], (0, 0, -1.0), 0.0)],
    }
    targets = {
        task.name: toy.batch([toy.view_target(task, label, *toy.VIEW) for label in labels[task.name]]) for task in EVERY
    }
    return toy_losses.uneven_batch()[0], targets


@pytest.mark.slow  # tests/tasks/test_contract.py has it of the losses alone
def test_gradient_of_every_kind_is_the_same_in_one_two_and_four_parts():
    whole, halves, quarters = (stepped(made(parts, tasks=EVERY), hard_batch()) for parts in (1, 2, 4))
    assert_same_step(halves, whole)
    assert_same_step(quarters, whole)
    assert all(whole[0][f"loss/{task.name}"] > 0 for task in EVERY)


DEVICES = """
import sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as tests do, see conftest.py
sys.path.insert(0, sys.argv[1])
import test_passes as own

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
accumulate, tasks, batch = {
    "uneven": lambda: (2, own.UNEVEN, own.batch()),
    "every kind": lambda: (1, own.EVERY, own.hard_batch()),
}[sys.argv[2]]()
whole = own.stepped(own.made(1, tasks=tasks), batch)
with strategy.scope():
    assembly = own.made(accumulate, tasks=tasks)
own.assert_same_step(own.stepped(assembly, own.distribute(strategy, batch)), whole)
"""


@pytest.mark.parametrize("labels", ["uneven", pytest.param("every kind", marks=pytest.mark.slow)])
def test_two_devices_with_different_counts_give_the_gradient_of_one(labels):
    environment = {"PYTHONPATH": str(Path(toy.__file__).parent), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    argv = [sys.executable, "-c", DEVICES, str(Path(__file__).parent), labels]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
