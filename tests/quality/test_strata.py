import itertools

import numpy as np
import pytest

from must_tf.quality import strata

FOUND = [[("cat", 0.95)], [("cat", 0.55)], [("dog", 0.7)], [("cat", 0.9), ("bird", 0.99)], [], [("dog", None)]]
WEIGHTS = (0.5, 0.2, 0.15, 0.05, 0.05, 0.05)


def images(count):
    chosen = np.random.default_rng(0).choice(len(FOUND), count, p=WEIGHTS)
    return [(3 * i, f"id{i}", FOUND[kind]) for i, kind in enumerate(chosen)]


def test_strata_divide_the_images_and_each_is_sampled_twice_at_least():
    population = images(500)
    drawn = strata.draw(lambda: population, 60)
    assert sum(one.size for one in drawn) == 500 and sum(len(one.sampled) for one in drawn) == 60
    assert all(len(one.sampled) >= 2 for one in drawn) and len(drawn) <= 15
    sampled = list(itertools.chain.from_iterable(one.sampled for one in drawn))
    assert len(set(sampled)) == 60 and set(sampled) <= {index for index, _, _ in population}
    (rare,) = [one for one in drawn if "bird, score of 0.8 or more" in one.cells]
    share = len(rare.sampled) / rare.size
    assert share > 60 / 500  # more of a rare class than of all


def test_the_same_seed_draws_the_same_and_another_one_does_not():
    population = images(200)
    one, again, other = (strata.draw(lambda: population, 30, seed) for seed in (1, 1, 2))
    assert one == again and one != other
    assert [(stratum.cells, stratum.size) for stratum in one] == [(stratum.cells, stratum.size) for stratum in other]


def test_every_image_of_a_stratum_is_drawn_equally_often():
    population = images(40)
    times = dict.fromkeys((index for index, _, _ in population), 0)
    for seed in range(400):
        for one in strata.draw(lambda: population, 4, seed):
            for index in one.sampled:
                times[index] += 1
    rates = np.array(list(times.values())) / 400  # one stratum of 40 images, 4 of them drawn
    assert abs(rates.mean() - 0.1) < 1e-9 and rates.max() < 0.17 and rates.min() > 0.03


@pytest.mark.parametrize("count", [6, 7, 1000])
def test_a_sample_larger_than_the_images_is_all_of_them(count):
    population = images(6)
    drawn = strata.draw(lambda: population, count)
    assert sorted(index for one in drawn for index in one.sampled) == [index for index, _, _ in population]


def test_allocation_keeps_its_bounds():
    for sizes, count in itertools.product(([1], [1, 2, 3], [10000, 500, 3, 1], [50] * 20), (1, 10, 60, 10**5)):
        given = strata.allocate(sizes, count)
        assert all(min(size, 2) <= number <= size for size, number in zip(sizes, given, strict=True))
        assert sum(given) == max(min(count, sum(sizes)), sum(min(size, 2) for size in sizes))
