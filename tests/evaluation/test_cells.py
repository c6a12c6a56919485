import dataclasses
import json
import math

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.evaluation.cells import (
    Cell,
    Draw,
    cell_path,
    choose,
    read_cell,
    read_cells,
    read_images,
    write_cells,
    write_images,
)
from must_tf.evaluation.sweep import Setting
from must_tf.tasks.per_image import Ratios

ONE = Cell(
    task="depth",
    metric="delta1",
    init="mine",
    learning_rate=0.1,
    steps=300,
    seed=0,
    batch_size=16,
    train_images=250,
    validation={"delta1": 0.5},
    validation_images=20,
    test={"delta1": 0.4, "abs_rel": 0.1},
    test_images=30,
    minutes=1.5,
    weights="0123456789abcdef",
)


def cell(validation, test=0.4, **fields):
    return dataclasses.replace(ONE, validation={"delta1": validation}, test={"delta1": test}, **fields)


def test_cell_comes_back_as_it_was(tmp_path):
    error = dataclasses.replace(ONE, metric="abs_rel", unit="", better="lower")
    ONE.write(tmp_path)
    path = cell_path(tmp_path, "depth", "mine", Setting(0.1, 300), Draw(None, 0))
    assert path.relative_to(tmp_path).as_posix() == "depth/mine/lr0.1-steps300-seed0.json"
    assert read_cell(path) == ONE and read_cells(tmp_path) == [ONE]
    error.write(tmp_path)
    assert read_cells(tmp_path) == [error]


def test_cell_of_version_0_1_0_is_a_share_of_which_higher_is_better(tmp_path):
    ONE.write(tmp_path)
    (path,) = tmp_path.rglob("lr*.json")
    value = json.loads(path.read_text())
    del value["unit"], value["better"]
    path.write_text(json.dumps(value))
    assert read_cells(tmp_path) == [ONE]


def test_cells_of_a_sweep_are_one_file_of_one_line_each(tmp_path):
    cells = [cell(0.5, task=task, steps=steps) for task in ("normals", "depth") for steps in (300, 100, 1000)]
    cells += [cell(math.nan, learning_rate=rate, seed=1) for rate in (0.05, 2.0, 10.0)]
    path = write_cells(tmp_path / "one", cells)
    assert path.read_text().count("\n") == 9 and "NaN" not in path.read_text()
    read = read_cells(tmp_path / "one")
    assert [(c.task, c.learning_rate, c.steps) for c in read] == sorted(
        (c.task, c.learning_rate, c.steps) for c in cells
    )
    write_cells(tmp_path / "again", reversed(cells))
    assert (tmp_path / "again" / "cells.jsonl").read_bytes() == path.read_bytes()
    for one in cells:
        one.write(tmp_path / "workdir")
    assert read_cells(tmp_path / "workdir") == read


def test_a_workdir_may_hold_both_and_its_files_have_the_last_word(tmp_path):
    write_cells(tmp_path, [ONE, cell(0.1, seed=1)])
    cell(0.2, seed=1).write(tmp_path)
    assert [c.validation["delta1"] for c in read_cells(tmp_path)] == [0.5, 0.2]


def test_file_that_is_no_cell_and_a_folder_without_any_are_told(tmp_path):
    with pytest.raises(UserError, match="holds no cells"):
        read_cells(tmp_path)
    write_cells(tmp_path, [ONE, dataclasses.replace(ONE, seed=1)])
    cut = (tmp_path / "cells.jsonl").read_text()[:-20]
    (tmp_path / "cells.jsonl").write_text(cut)
    with pytest.raises(UserError, match=r"cells\.jsonl:2: not valid JSON"):
        read_cells(tmp_path)
    path = tmp_path / "a" / "b" / "lr1-steps1-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"task": "depth"}')
    with pytest.raises(UserError, match=r"seed0\.json: field 'metric' is missing; delete it"):
        read_cell(path)


def test_best_on_validation_is_chosen_whatever_it_scores_on_test():
    better = cell(0.6, test=0.1, learning_rate=0.3)
    assert choose([ONE, better]) == choose([better, ONE]) == better.setting


def test_of_a_metric_of_which_lower_is_better_the_lowest_is_chosen():
    cells = [cell(value, learning_rate=value, unit="m", better="lower") for value in (0.3, 0.1, 0.2)]
    assert choose(cells) == Setting(0.1, 300)
    diverged = dataclasses.replace(cells[0], steps=1, validation={})
    assert choose([diverged, *cells]) == Setting(0.1, 300)


def test_of_equal_ones_the_cheaper_is_chosen():
    cells = [cell(0.5, steps=300), cell(0.5, steps=100, learning_rate=0.3), cell(0.5, steps=100)]
    assert choose(cells) == choose(cells[::-1]) == Setting(0.1, 100)


def test_cell_with_a_metric_that_is_no_number_is_json_that_all_can_read(tmp_path):
    cell(math.nan, test=math.inf).write(tmp_path)
    (path,) = tmp_path.rglob("*.json")
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["test"] == {"delta1": None}
    assert read_cell(path).score is None and choose([read_cell(path), ONE]) == ONE.setting


def test_sweep_of_one_needs_no_validation():
    assert choose([dataclasses.replace(ONE, validation={})]) == ONE.setting


def test_setting_without_a_finite_score_is_not_chosen():
    lost = cell(float("nan"), steps=100)
    assert choose([lost, ONE]) == choose([ONE, lost]) == ONE.setting


def test_seeds_of_pretraining_and_fine_tuning_are_told_apart(tmp_path):
    draws = [Draw(None, 1), Draw(0, 1), Draw(1, 0), Draw(1, 1)]
    for draw in draws:
        dataclasses.replace(ONE, seed=draw.seed, pretraining=draw.pretraining).write(tmp_path)
    assert (tmp_path / "depth" / "mine" / "lr0.1-steps300-pretraining1-seed0.json").exists()
    assert {cell.draw for cell in read_cells(tmp_path)} == {*draws}
    write_cells(tmp_path / "one", read_cells(tmp_path))
    assert read_cells(tmp_path / "one") == read_cells(tmp_path)


def test_no_two_pretrainings_are_fine_tuned_in_the_same_order_of_images():
    own = [Draw(pretraining, seed).own_seed for pretraining in range(30) for seed in range(30)]
    assert len({*own}) == 900 and 0 <= min(own) <= max(own) < 2**31
    assert Draw(None, 7).own_seed == 7 and Draw(2, 1).own_seed == Draw(2, 1).own_seed


def test_what_images_added_comes_back_and_belongs_to_its_cell(tmp_path):
    statistic = Ratios.of_images([1, 0, 1, 0, 0], [1] * 5)
    assert read_images(tmp_path, ONE) is None
    write_images(tmp_path, ONE, statistic)
    assert read_images(tmp_path, ONE).scores(np.ones((1, 5))) == [0.4]
    other = dataclasses.replace(ONE, test={"delta1": 0.6})
    with pytest.raises(UserError, match=r"seed0\.npz: its score is 0\.4, that of its cell 0\.6; delete both"):
        read_images(tmp_path, other)
    write_images(tmp_path, ONE, None)
    assert read_images(tmp_path, ONE) is None


def test_a_damaged_file_of_images_is_named(tmp_path):
    path = ONE.path(tmp_path).with_suffix(".npz")
    path.parent.mkdir(parents=True)
    for content in (b"", b"PK", b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"seed0\.npz: holds no statistic of images .*delete it"):
            read_images(tmp_path, ONE)
