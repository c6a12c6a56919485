import pytest

from must_tf.evaluation.sweep import ENDS, Setting, Sweep, edges

GRID = Sweep((0.05, 0.1, 0.2), (100, 200, 400))
(LOWEST, HIGHEST), (FEWEST, MOST) = ENDS.values()


def test_settings_are_the_product_and_what_is_not_swept_is_of_the_experiment():
    assert Sweep((0.1, 0.2), (5, 6)).settings == [Setting(0.1, 5), Setting(0.1, 6), Setting(0.2, 5), Setting(0.2, 6)]
    assert Sweep((), (5,)).filled(0.3, 7).settings == [Setting(0.3, 5)]


@pytest.mark.parametrize("setting", GRID.settings)
def test_a_setting_is_on_an_edge_where_it_has_no_neighbor(setting):
    expected = {LOWEST: 0.05, HIGHEST: 0.2, FEWEST: 100, MOST: 400}
    assert {*edges(setting, GRID.settings)} == {
        end for end, value in expected.items() if value in (setting.learning_rate, setting.steps)
    }


def test_what_is_not_swept_has_no_edge():
    assert edges(Setting(0.1, 100), [Setting(0.1, 100)]) == ()
    assert edges(Setting(0.1, 100), Sweep((0.1,), (100, 300)).settings) == (FEWEST,)


def test_a_sweep_goes_on_in_the_ratio_of_its_last_two_values():
    assert GRID.extended([HIGHEST]) == Sweep((0.05, 0.1, 0.2, 0.4), GRID.steps)
    assert GRID.extended([LOWEST]).learning_rates == (0.05, 0.1, 0.2, 0.025)
    assert GRID.extended([MOST, FEWEST]) == Sweep(GRID.learning_rates, (100, 200, 400, 50, 800))
    assert Sweep((0.2, 0.05), (300, 100)).extended([HIGHEST, MOST]) == Sweep((0.2, 0.05, 0.8), (300, 100, 900))
    assert GRID.extended([]) == GRID


def test_fewer_steps_than_one_are_not_tried():
    assert Sweep((0.1,), (1, 2)).extended([FEWEST]) == Sweep((0.1,), (1, 2))


def test_extending_reaches_any_optimum_that_is_inside():
    best, grid = Setting(3.2, 2700), Sweep((0.05, 0.2), (100, 300))

    def chosen():
        return min(grid.settings, key=lambda s: abs(s.learning_rate - best.learning_rate) + abs(s.steps - best.steps))

    for _ in range(4):
        grid = grid.extended(edges(chosen(), grid.settings))
    assert chosen() == best and not edges(best, grid.settings)
