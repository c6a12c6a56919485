import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.training.combine import Combiner, cosines, gramian, shares
from must_tf.training.config import Combine

SHAPES = ((3, 4), (5,), (), (2, 2, 2))
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)
TASKS = ("a", "b", "c")
STEP = tf.constant(3, tf.int64)
seeds = st.integers(0, 2**32 - 1)


def split(flat, shapes=SHAPES):
    """A vector [n] (or rows [k, n]) as tensors of these shapes."""
    flat, parts, start = np.asarray(flat, np.float32), [], 0
    for shape in shapes:
        end = start + int(np.prod(shape))
        parts.append(tf.constant(flat[..., start:end].reshape((*flat.shape[:-1], *shape))))
        start = end
    assert start == flat.shape[-1]
    return parts


def joined(parts):
    """The inverse of `split` for a vector."""
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float64)


def directions(made):
    """The basis of a combiner, [rank, n]."""
    return np.stack(made.basis).astype(np.float64)


def combiner(rule="sum", shapes=SHAPES, tasks=TASKS, seed=0, **fields):
    fields = {"target": "a", "rank": 4} | fields if rule == "attittud" else fields
    return Combiner(Combine(rule, **fields), tasks, [tf.Variable(tf.zeros(shape)) for shape in shapes], seed)


def combined(made, rows, shapes=SHAPES, step=STEP):
    """What a combiner makes of flat gradients [K, n], as float64 [n]."""
    return joined(made({task: split(row, shapes) for task, row in zip(TASKS, rows, strict=False)}, step))


def random_rows(seed, count=3, size=SIZE):
    """Gradients of very different lengths."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)) * 10.0 ** rng.uniform(-3, 3, (count, 1))


def near(seed, target, count=4):
    """Combinations of gradients whose directions hold part of the target's gradient."""
    rng = np.random.default_rng([seed, 1])
    return target + np.linalg.norm(target) * rng.normal(size=(count, SIZE))


def refreshed(seed, target, **fields):
    made = combiner("attittud", seed=seed % 1000, **fields)
    made.refresh(split(near(seed, target)))
    return made


def assert_close(found, wanted, rows):
    """Equal to the rounding of float32, in proportion to the gradients' lengths."""
    np.testing.assert_allclose(found, wanted, atol=3e-6 * np.linalg.norm(rows, axis=1).sum(), rtol=0)


# What gradients have to do with each other


@given(seeds)
def test_gramian_cosines_and_shares_are_those_of_the_whole_vectors(seed):
    rows = random_rows(seed)
    norms = np.linalg.norm(rows, axis=1)
    found = gramian([split(row) for row in rows])
    np.testing.assert_allclose(found / np.outer(norms, norms), rows @ rows.T / np.outer(norms, norms), atol=1e-6)
    np.testing.assert_allclose(cosines(found), rows @ rows.T / np.outer(norms, norms), atol=1e-5)
    np.testing.assert_allclose(shares(found), norms / norms.sum(), rtol=1e-5)


def test_task_without_a_gradient_has_no_angle_and_no_share():
    found = gramian([split(np.zeros(SIZE)), split(np.ones(SIZE))])
    np.testing.assert_allclose(cosines(found), [[0, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(shares(found), [0, 1])
    np.testing.assert_array_equal(shares(tf.zeros([2, 2])), [0, 0])


# Every rule


RULES = pytest.mark.parametrize("rule", ["sum", "pcgrad", "attittud"])


@RULES
def test_how_parameters_are_split_into_variables_changes_nothing(rule):
    rows, samples = random_rows(1), near(1, random_rows(1)[0])
    results = []
    for shapes in (SHAPES, ((SIZE,),), ((SIZE - 7,), (7, 1))):
        made = combiner(rule, shapes)
        if rule == "attittud":
            made.refresh(split(samples, shapes))
        results.append(combined(made, rows, shapes))
    assert_close(results[1], results[0], rows)
    assert_close(results[2], results[0], rows)


@RULES
@pytest.mark.parametrize("absent", [1, 2])
def test_absent_task_changes_nothing_for_the_others(rule, absent):
    rows = random_rows(2)
    rows[absent] = 0
    present = [task for i, task in enumerate(TASKS) if i != absent]
    made, alone = combiner(rule), combiner(rule, tasks=present)
    if rule == "attittud":
        for one in (made, alone):
            one.refresh(split(near(2, rows[0])))
    found = joined(alone({task: split(rows[TASKS.index(task)]) for task in present}, STEP))
    assert_close(combined(made, rows), found, rows)


@RULES
def test_gradients_of_0_make_no_nan(rule):
    made = combiner(rule)
    if rule == "attittud":
        made.refresh(split(np.zeros((4, SIZE))))
    np.testing.assert_array_equal(combined(made, np.zeros((3, SIZE))), np.zeros(SIZE))


def test_attittud_without_its_target_weighs_all_as_the_orthogonal_part():
    rows = random_rows(6)
    made = refreshed(6, rows[0], orthogonal=0.5)
    rows[0] = 0
    assert_close(combined(made, rows), 0.5 * rows.sum(0), rows)


@RULES
def test_value_that_is_not_finite_stays_so_and_breaks_nothing(rule):
    rows = random_rows(3)
    rows[1, 4] = np.nan
    assert not np.isfinite(combined(combiner(rule), rows)).all()


@RULES
def test_result_is_a_function_of_seed_and_step_in_a_graph_too(rule):
    rows = random_rows(4)
    gradients = {task: split(row) for task, row in zip(TASKS, rows, strict=True)}
    first, second = combiner(rule, seed=5), combiner(rule, seed=5)
    if rule == "attittud":
        for made in (first, second):
            tf.function(made.refresh)(split(near(4, rows[0])))
    graph = tf.function(second)
    for step in range(4):
        step = tf.constant(step, tf.int64)
        assert_close(joined(first(gradients, step)), joined(graph(gradients, step)), rows)
        np.testing.assert_array_equal(joined(graph(gradients, step)), joined(graph(gradients, step)))


def test_sum_is_the_sum():
    rows = random_rows(5)
    assert_close(combined(combiner(), rows), rows.sum(0), rows)


def test_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'pcgrd' is unknown; did you mean 'pcgrad'"):
        combiner("pcgrd")


# PCGrad


def without(vector, other):
    return vector - min(vector @ other, 0) / (other @ other) * other


@given(seeds)
def test_pcgrad_of_two_tasks_is_the_closed_form_and_opposes_neither(seed):
    one, other = rows = random_rows(seed, 2)
    found = combined(combiner("pcgrad", tasks=TASKS[:2]), rows)
    assert_close(found, without(one, other) + without(other, one), rows)
    for row in rows:
        assert found @ row >= -1e-5 * np.linalg.norm(rows, axis=1).sum() * np.linalg.norm(row)


@given(seeds)
def test_pcgrad_leaves_gradients_alone_that_do_not_oppose_each_other(seed):
    rows = np.abs(random_rows(seed))
    assert_close(combined(combiner("pcgrad"), rows), rows.sum(0), rows)


def surgery(rows, orders):
    """PCGrad, word for word."""
    total = 0
    for i, order in enumerate(orders):
        row = rows[i].copy()
        for j in order:
            row = without(row, rows[j]) if j != i else row
        total = total + row
    return total


def test_pcgrad_of_three_tasks_takes_every_order_and_only_such():
    rows = np.random.default_rng(7).normal(size=(3, SIZE)) - 2 * np.eye(3, SIZE) + 0.0
    rows[2] = -rows[0] - 0.5 * rows[1] + 0.3 * rows[2]
    pairs = [((1, 2), (2, 1)), ((0, 2), (2, 0)), ((0, 1), (1, 0))]
    wanted = [surgery(rows, (a, b, c)) for a in pairs[0] for b in pairs[1] for c in pairs[2]]
    made, seen = combiner("pcgrad"), set()
    for step in range(60):
        found = combined(made, rows, step=tf.constant(step, tf.int64))
        errors = [np.abs(found - want).max() for want in wanted]
        assert min(errors) < 1e-5
        seen.add(int(np.argmin(errors)))
    assert len(seen) == len({tuple(np.round(want, 4)) for want in wanted})


# ATTITTUD


@given(seeds)
def test_attittud_with_all_weights_1_is_the_sum(seed):
    rows = random_rows(seed)
    made = refreshed(seed, rows[0], helping=1.0, hurting=1.0, orthogonal=1.0)
    assert_close(combined(made, rows), rows.sum(0), rows)


@given(seeds, st.booleans(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 1.0, 3.0]))
def test_without_the_hurting_part_no_gradient_opposes_the_targets(seed, known, helping, orthogonal):
    rows = random_rows(seed)
    fields = {"helping": helping, "orthogonal": orthogonal, "hurting": 0.0}
    made = refreshed(seed, rows[0], **fields) if known else combiner("attittud", **fields)
    others = combined(made, rows) - rows[0]
    rounding = 1e-6 * max(helping, orthogonal, 1) * np.linalg.norm(rows, axis=1).sum()
    assert others @ rows[0] >= -rounding * np.linalg.norm(rows[0])


@pytest.mark.parametrize("share", [0.0, 1e-8, 1e-6, 1e-5, 3e-5, 1e-4, 1e-3])
def test_so_it_is_where_the_basis_holds_nearly_all_of_the_targets_gradient(share):
    rng = np.random.default_rng(9)
    samples = rng.normal(size=(4, SIZE))
    for _ in range(20):
        rows = rng.normal(size=(3, SIZE))
        rows[0] = rng.normal(size=4) @ samples + share * rng.normal(size=SIZE)
        made = combiner("attittud", hurting=0.0, orthogonal=1.0, helping=0.0)
        made.refresh(split(samples))
        others = combined(made, rows) - rows[0]
        assert others @ rows[0] >= -2e-5 * np.linalg.norm(rows[0]) * np.linalg.norm(rows, axis=1).sum()


@given(seeds)
def test_parts_are_those_of_a_frame_of_the_basis_and_of_what_it_misses(seed):
    rows = random_rows(seed)
    made = refreshed(seed, rows[0], helping=2.0, hurting=-0.5, orthogonal=0.25)
    frame = directions(made)
    missed = rows[0] - frame.T @ (frame @ rows[0])
    frame = np.vstack([frame, missed / np.linalg.norm(missed)])
    wanted = rows[0].copy()
    for row in rows[1:]:
        along = frame @ row
        weights = np.where(along * (frame @ rows[0]) > 0, 2.0, -0.5)
        wanted += 0.25 * (row - frame.T @ along) + frame.T @ (weights * along)
    np.testing.assert_allclose(combined(made, rows), wanted, atol=2e-5 * np.linalg.norm(rows, axis=1).sum(), rtol=0)


def test_small_step_does_not_raise_the_targets_loss_where_the_sum_does():
    rng = np.random.default_rng(10)
    curvature = [np.diag(rng.uniform(0.5, 2, SIZE)) for _ in TASKS]
    optimum = [rng.normal(size=SIZE) * scale for scale in (1, 10, 10)]

    def loss(task, point):
        return 0.5 * (point - optimum[task]) @ curvature[task] @ (point - optimum[task])

    made, raised = combiner("attittud", hurting=0.0), 0
    for trial in range(20):
        point = optimum[0] + rng.normal(size=SIZE)
        rows = np.stack([h @ (point - o) for h, o in zip(curvature, optimum, strict=True)])
        if trial % 5 == 0:  # an old basis serves as well
            made.refresh(split(near(trial, rows[0])))
        assert loss(0, point - 1e-4 * combined(made, rows)) < loss(0, point)
        raised += loss(0, point - 1e-4 * rows.sum(0)) > loss(0, point)
    assert raised


@pytest.mark.parametrize("dimensions", [1, 3, 4])
def test_basis_is_orthonormal_and_spans_the_combinations(dimensions):
    rng = np.random.default_rng(11)
    combinations = rng.normal(size=(4, dimensions)) @ rng.normal(size=(dimensions, SIZE)) * 1e-4
    made = combiner("attittud")
    made.refresh(split(combinations))
    basis = directions(made)
    np.testing.assert_allclose(basis @ basis.T, np.diag(np.arange(4) < dimensions), atol=1e-6)
    np.testing.assert_allclose(combinations @ basis.T @ basis, combinations, atol=1e-6 * np.abs(combinations).max())


def test_energy_is_the_share_of_the_squared_length_within_the_basis():
    made, target = combiner("attittud"), random_rows(12)[0]
    assert float(made.captured(split(target))) == 0  # there is no basis yet
    made.refresh(split(near(12, target)))
    basis = directions(made)
    wanted = np.sum((basis @ target) ** 2) / np.sum(target**2)
    assert 0.05 < wanted < 0.95
    assert float(made.captured(split(target))) == pytest.approx(wanted, rel=1e-5)
    assert float(made.captured(split(basis.T @ [1, -2, 0, 3]))) == pytest.approx(1, rel=1e-5)
    assert np.isnan(made.captured(split(np.zeros(SIZE))))


def test_weights_of_combinations_are_a_function_of_seed_and_of_how_many_bases_were_made():
    drawn = []
    for seed in (1, 1, 2):
        made = combiner("attittud", seed=seed)
        for _ in range(2):
            drawn.append(made.draw(5).numpy())
            made.refresh(split(near(13, random_rows(13)[0])))
    assert drawn[0].shape == (5, 4)
    np.testing.assert_array_equal(drawn[0], drawn[2])
    np.testing.assert_array_equal(drawn[1], drawn[3])
    for other in (1, 4):
        assert np.abs(drawn[0] - drawn[other]).min() > 0


def test_checkpoint_holds_the_basis_and_how_many_were_made(tmp_path):
    made, restored = combiner("attittud"), combiner("attittud")
    made.refresh(split(near(14, random_rows(14)[0])))
    where = tf.train.Checkpoint(combiner=made).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(combiner=restored).read(where).assert_consumed()
    np.testing.assert_array_equal(directions(made), directions(restored))
    np.testing.assert_array_equal(made.draw(5), restored.draw(5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_combinations_that_are_not_finite_or_0_leave_the_basis_as_it_is(bad):
    made = combiner("attittud")
    made.refresh(split(near(15, random_rows(15)[0])))
    before = directions(made)
    combinations = np.zeros((4, SIZE))
    combinations[2, 7] = bad
    made.refresh(split(combinations))
    np.testing.assert_array_equal(directions(made), before)


def test_only_attittud_has_a_basis():
    assert (combiner("sum").refresh_every, combiner("pcgrad").refresh_every) == (0, 0)
    assert combiner("attittud", refresh_every=7).refresh_every == 7
    assert not combiner("pcgrad").variables


def test_weights_may_be_whole_numbers():
    rows = random_rows(17)
    found = [combined(combiner("attittud", hurting=one, helping=other), rows) for one, other in ((-1, 2), (-1.0, 2.0))]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "fields, message",
    [({"target": "bb"}, "no task 'bb'"), ({"target": ""}, "known: a, b, c"), ({"rank": 0}, "rank: 0 received")],
)
def test_attittud_refuses_what_it_cannot_do(fields, message):
    with pytest.raises(UserError, match=message):
        combiner("attittud", **fields)
