import numpy as np
import pytest
import tensorflow as tf
import toy
import toy_losses

from must_tf.pipeline import training_batches
from must_tf.records import open_dataset
from must_tf.student import Student
from must_tf.training import Balance, Combine, Optimizer
from must_tf.training.assembly import assemble
from must_tf.training.average import Average
from must_tf.training.balance import Balancer
from must_tf.training.combine import Combiner
from must_tf.training.cost import cost_of
from must_tf.training.schedule import make_optimizer
from must_tf.training.step import Step
from must_tf.training.variables import (
    head_variables,
    moving_statistics,
    optimizer_slots,
    trunk_variables,
    updated_by_task,
    variables_of,
)

TASKS = (toy.SCENE, toy.DEPTH, toy.STUFF)
pytestmark = pytest.mark.usefixtures("eagerly")  # but for the first test


@pytest.fixture(scope="module")
def batch(toy_data):
    """Four images with labels of every task."""
    labeled = [
        (images, targets)
        for images, targets in training_batches([open_dataset(toy_data)], TASKS, [toy.VIEW], 1).take(40)
        if all(bool(task.has_label(targets[task.name])[0]) for task in TASKS)
    ]
    return tf.nest.map_structure(lambda *values: tf.concat(values, 0), *labeled[:4])


@pytest.fixture(scope="module")
def student():
    tf.random.set_seed(0)
    return Student(TASKS, toy.TRUNK)


@pytest.fixture
def make_step(student):
    start = [variable.numpy() for variable in student.variables]

    def make(optimizer=None, balance="fixed", combine=None, clip_norm=0.0, **options):
        for variable, value in zip(student.variables, start, strict=True):
            variable.assign(value)
        balancer = Balancer(Balance(balance), student.tasks, 4, 0.1)
        combiner = Combiner(combine or Combine(), list(student.tasks), trunk_variables(student), 0)
        made = make_optimizer(optimizer or Optimizer("adamw", 0.01), 100)
        made.build(variables_of(student, balancer))
        return Step(student, made, Average(student.variables, 0.5), balancer, combiner, clip_norm, **options)

    yield make
    for variable, value in zip(student.variables, start, strict=True):
        variable.assign(value)


def without(batch, *names):
    """The batch with empty targets of some tasks."""
    images, targets = batch
    empty = {
        task.name: toy.batch([toy.view_target(task, None, *toy.VIEW)] * len(images))
        for task in TASKS
        if task.name in names
    }
    return images, targets | empty


def snapshot(variables):
    return [variable.numpy() for variable in variables]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def belongings(step, name):
    updated = updated_by_task(step.student, step.balancer, step.optimizer)
    return [variable for task, variable in (*updated, *moving_statistics(step.student)) if task == name]


@pytest.mark.parametrize(
    "combine, options",
    [
        (Combine(), {"accumulate": 2, "scaled": True}),
        (Combine("pcgrad"), {"balance": "uncertainty"}),
        (Combine("attittud", target="depth", rank=2), {"clip_norm": 1.0}),
    ],
)
def test_traced_step_is_the_one_that_runs_op_by_op(make_step, batch, combine, options):
    ends, values = [], []
    for eager in (True, False):
        tf.config.run_functions_eagerly(eager)
        step = make_step(Optimizer("sgd", 0.1), combine=combine, **options)
        if step.combiner.refresh_every:
            step.refresh(batch)
        for conflicts in (False, True):
            found = step(batch, conflicts=conflicts)
        values.append({name: float(value) for name, value in found.items()})
        ends.append(snapshot([*step.student.variables, *step.optimizer.variables]))
    tf.config.run_functions_eagerly(True)
    assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-5)
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
def test_task_without_a_label_in_the_batch_keeps_its_head_and_all_that_belongs_to_it(make_step, batch, balance):
    step = make_step(balance=balance)
    step(batch)  # gives the optimizer momenta
    before = {task.name: snapshot(belongings(step, task.name)) for task in TASKS}
    for _ in range(2):
        values = step(without(batch, "depth"))
    after = {task.name: snapshot(belongings(step, task.name)) for task in TASKS}
    assert same(before["depth"], after["depth"])
    assert not any(np.array_equal(a, b) for a, b in zip(before["stuff"][:4], after["stuff"][:4], strict=True))
    assert float(values["loss/depth"]) == 0 and float(values["applied"]) == 1


def test_belongings_are_weights_momenta_and_statistics(make_step, student):
    step = make_step(balance="uncertainty")
    count = len(head_variables(student, step.balancer)["depth"])
    statistics = len(student.heads["depth"].non_trainable_variables)
    assert count == len(student.heads["depth"].trainable_variables) + 1
    assert len(optimizer_slots(step.optimizer, len(step.variables_in_order))) == 2  # the moments
    assert len(belongings(step, "depth")) == 3 * count + statistics


def test_step_that_is_not_finite_changes_nothing_but_the_count(make_step, batch, student):
    step = make_step(balance="uncertainty")
    step(batch)
    images, targets = batch
    depth = {key: v * np.inf if v.dtype.is_floating else v for key, v in targets["depth"].items()}
    kept = [v for v in (*student.variables, *step.optimizer.variables, *step.balancer.variables_by_task["depth"])
            if v is not step.optimizer.iterations]  # fmt: skip
    before = snapshot(kept)
    values = step((images, targets | {"depth": depth}))
    assert float(values["applied"]) == 0
    assert same(before, snapshot(kept))
    assert int(step.optimizer.iterations) == 2
    assert float(step(batch)["applied"]) == 1


def test_bound_on_the_norm_shortens_the_step_and_not_what_is_reported(make_step, batch):
    ends, norms, settings = [], [], Optimizer("sgd", 0.1, momentum=0.0, weight_decay=0.0)
    for bound in (0.0, 0.01):
        step = make_step(settings, clip_norm=bound)
        before = snapshot(step.variables_in_order)
        norms.append(float(step(batch)["gradient_norm"]))
        moved = [a - b for a, b in zip(snapshot(step.variables_in_order), before, strict=True)]
        ends.append(np.sqrt(sum(np.sum(np.square(values, dtype=np.float64)) for values in moved)))
    assert norms[0] == norms[1] > 1
    np.testing.assert_allclose(ends, [0.1 * norms[0], 0.1 * 0.01], rtol=1e-3)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(make_step, batch):
    """Of a batch with twice the same half: batch norms see the same in each part."""
    half = tf.nest.map_structure(lambda values: values[:2], batch)
    twice = tf.nest.map_structure(lambda values: tf.concat([values, values], 0), half)
    weights, values = [], []
    for given, options in ((half, {}), (twice, {"accumulate": 2})):
        step = make_step(Optimizer("sgd", 0.1), **options)
        values.append(step(given))
        weights.append(snapshot(step.variables_in_order))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    for name in values[0]:
        assert float(values[0][name]) == pytest.approx(float(values[1][name]), rel=1e-4)


def test_request_to_stop_is_told_beside_the_same_step(make_step, batch):
    ends, told = [], []
    for asked in (None, False, True):
        step = make_step(Optimizer("sgd", 0.1))
        values = step(batch, stop=None if asked is None else tf.constant(asked))
        told.append(values.get("stop"))
        ends.append(snapshot(step.variables_in_order))
    assert told[0] is None and not told[1] and told[2]
    assert same(ends[0], ends[1]) and same(ends[0], ends[2])


def test_conflicts_are_measured_beside_the_same_step(make_step, batch):
    ends, values = [], []
    for conflicts in (False, True):
        step = make_step(Optimizer("sgd", 0.1))
        values.append(step(batch, conflicts=conflicts))
        ends.append(snapshot(step.variables_in_order))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    measured = {name: float(value) for name, value in values[1].items() if name not in values[0]}
    shares = [measured.pop(f"share/{task.name}") for task in TASKS]
    assert sum(shares) == pytest.approx(1, abs=1e-5) and min(shares) > 0
    assert set(measured) == {"cosine/scene/depth", "cosine/scene/stuff", "cosine/depth/stuff"}
    assert all(-1 <= value <= 1 for value in measured.values())


def test_absent_task_has_no_angle_with_the_others(make_step, batch):
    measured = make_step(Optimizer("sgd", 0.1))(without(batch, "depth"), conflicts=True)
    angles = {name: float(value) for name, value in measured.items() if name.startswith("cosine/")}
    assert {name for name, value in angles.items() if np.isnan(value)} == {"cosine/scene/depth", "cosine/depth/stuff"}
    assert float(measured["share/depth"]) == 0 and float(measured["applied"]) == 1


def test_attittud_that_weighs_all_parts_alike_makes_the_step_of_the_sum(make_step, batch):
    alike = Combine("attittud", target="depth", rank=2, helping=1.0, hurting=1.0, orthogonal=1.0)
    ends = []
    for rule in (Combine(), alike):
        step = make_step(Optimizer("sgd", 0.1), combine=rule)
        if step.combiner.refresh_every:
            step.refresh(batch)
            assert any(np.any(part) for part in step.combiner.basis)
        step(batch)
        ends.append(snapshot(step.variables_in_order))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_without_the_hurting_parts_a_small_step_lowers_the_targets_loss(make_step, batch):
    rule = Combine("attittud", target="depth", rank=2, hurting=0.0)
    step = make_step(Optimizer("sgd", 1e-4, weight_decay=0.0, momentum=0.0), combine=rule)
    step.refresh(batch)
    losses = [float(step(batch)["loss/depth"]) for _ in range(2)]
    assert losses[1] < losses[0]


def test_new_basis_changes_no_weight_and_no_statistic(make_step, batch, student):
    step = make_step(combine=Combine("attittud", target="depth", rank=2), accumulate=2)
    before = snapshot([*student.variables, *step.optimizer.variables])
    step.refresh(batch)
    assert same(before, snapshot([*student.variables, *step.optimizer.variables]))
    assert any(np.any(part) for part in step.combiner.basis)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_basis_spans_the_gradients_that_single_images_have_in_the_batch(make_step, batch, accumulate):
    """Beside gradients of one weighted loss in training mode, each differentiated alone."""
    step = make_step(combine=Combine("attittud", target="depth", rank=3), accumulate=accumulate)
    images, targets = batch
    weights = step.combiner.draw(4).numpy()
    step.refresh(batch)
    basis = np.stack(step.combiner.basis)
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-5)
    task, size = step.student.tasks["depth"], 4 // accumulate
    for own in weights.T:
        gradient = 0
        for first in range(0, 4, size):
            part = slice(first, first + size)
            with tf.GradientTape() as tape:
                terms = task.loss(
                    tf.nest.map_structure(lambda values, part=part: values[part], targets["depth"]),
                    step.student(images[part], training=True)["depth"],
                )
                (term,) = terms.values()
                loss = tf.reduce_sum(own[part] * term.sums)
            found = tape.gradient(loss, step.trunk, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            gradient += np.concatenate([np.ravel(part) for part in found])
        inside = basis.T @ (basis @ gradient)
        assert np.linalg.norm(gradient - inside) < 1e-3 * np.linalg.norm(gradient)


def test_basis_of_a_batch_holds_most_of_the_targets_gradient_in_it(make_step, toy_data):
    """With gradients of single images in inference mode it is 2 to 15 %."""
    step = make_step(combine=Combine("attittud", target="depth"))
    for batch in training_batches([open_dataset(toy_data)], TASKS, [toy.VIEW], 24).take(2):
        step.refresh(batch)
        assert 0.6 <= float(step(batch)["energy/depth"]) <= 1 + 1e-5


def test_batch_without_the_target_leaves_the_basis_as_it_was(make_step, batch):
    step = make_step(Optimizer("sgd", 0.1), combine=Combine("attittud", target="depth", rank=2))
    step.refresh(batch)
    before = snapshot(step.combiner.basis)
    step.refresh(without(batch, "depth"))
    assert same(before, snapshot(step.combiner.basis)) and any(part.any() for part in before)


@pytest.mark.parametrize("combine", [Combine(), Combine("attittud", target="scene", rank=2)])
def test_step_shows_the_target_to_a_head_that_sees_it(batch, combine):
    """Its loss can be computed of nothing else; see `toy_losses`."""
    experiment = toy.experiment("nowhere", tasks=[toy_losses.SEEING, toy.DEPTH], combine=combine)
    step = assemble(experiment).step
    if step.combiner.refresh_every:
        step.refresh(batch)
        assert any(np.any(part) for part in step.combiner.basis)
    assert float(step(batch)["loss/scene"]) > 0
    assert cost_of(step, experiment.tasks, toy.VIEW).step > 0


@pytest.mark.parametrize("combine", [Combine("pcgrad"), Combine("attittud", target="depth", rank=2)])
def test_gradients_that_are_operated_on_leave_those_of_the_heads_alone(make_step, batch, combine):
    heads = []
    for rule in (Combine(), combine):
        step = make_step(Optimizer("sgd", 0.1), combine=rule)
        if step.combiner.refresh_every:
            step.refresh(batch)
        step(batch)
        heads.append(snapshot(v for variables in step.heads.values() for v in variables))
    for one, other in zip(*heads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_loss_scale_halves_where_a_gradient_overflows_and_the_step_is_not_made(make_step, batch, student, monkeypatch):
    steep = type(student).losses_by_task
    monkeypatch.setattr(
        type(student), "losses_by_task", lambda *args: {name: 1e6 * loss for name, loss in steep(*args).items()}
    )
    step = make_step(Optimizer("sgd", 0.01), scaled=True)
    step.loss_scale.value.assign(np.float32(3e38))
    before = snapshot(step.variables_in_order)
    values = step(batch)
    assert float(values["applied"]) == 0 and float(step.loss_scale.value) == np.float32(1.5e38)
    assert same(before, snapshot(step.variables_in_order))


def test_scaled_step_is_the_step_without_a_scale(make_step, batch):
    step = make_step(Optimizer("sgd", 0.01), scaled=True)
    step.loss_scale.value.assign(1024.0)
    scaled = step(batch)
    assert float(scaled["applied"]) == 1 and int(step.loss_scale.good_steps) == 1
    after = snapshot(step.variables_in_order)
    plain = make_step(Optimizer("sgd", 0.01))
    assert float(plain(batch)["loss"]) == pytest.approx(float(scaled["loss"]), rel=1e-5)
    for one, other in zip(after, snapshot(plain.variables_in_order), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_loss_scale_stays_where_the_loss_itself_is_not_finite(make_step, batch):
    step = make_step(Optimizer("sgd", 0.01), scaled=True)
    images, targets = batch
    depth = {key: v * np.inf if v.dtype.is_floating else v for key, v in targets["depth"].items()}
    before = float(step.loss_scale.value)
    values = step((images, targets | {"depth": depth}))
    assert float(values["applied"]) == 0 and float(step.loss_scale.value) == before


def test_loss_scale_doubles_after_many_good_steps(make_step, batch):
    step = make_step(Optimizer("sgd", 0.001), scaled=True)
    step.loss_scale.value.assign(8.0)
    step.loss_scale.good_steps.assign(1999)
    step(batch)
    assert float(step.loss_scale.value) == 16 and int(step.loss_scale.good_steps) == 0


@pytest.mark.slow
def test_step_compiled_by_xla_is_the_same_step(make_step, batch):
    ends = []
    for jit_compile in (False, True):
        step = make_step(Optimizer("sgd", 0.01), jit_compile=jit_compile)
        values = step(batch)
        ends.append((float(values["loss"]), snapshot(step.variables_in_order)))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-4)
    for one, other in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-4)
