import dataclasses
import functools
import json
import shutil
import sys
import types

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.evaluation import Budget, Sweep, read_cells, transfer
from must_tf.evaluation.cells import Draw, read_images
from must_tf.evaluation.sweep import Setting
from must_tf.export import FORMATS, export
from must_tf.report import transfer_table
from must_tf.storage import locked
from must_tf.tasks import Depth, Score
from must_tf.training import load_student
from must_tf.training.config import Guard

module = sys.modules["must_tf.evaluation.transfer"]  # the name in the package is the function
SWEEP = Sweep(learning_rates=(0.01, 0.1), steps=(2, 3))
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def experiment(toy_data, tmp_path_factory):
    validation = tmp_path_factory.mktemp("validation") / "toy"
    toy.write_dataset(validation, toy.toy_records(5, seed=1))
    return toy.experiment(toy_data, tasks=[toy.SCENE], steps=2, validation=str(validation), test=str(toy_data))


@pytest.fixture(scope="module")
def inits(toy_run):
    return {"random": "", "mine": str(toy_run)}


@pytest.fixture(scope="module")
def done(eagerly, experiment, inits, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("transfer")
    return workdir, transfer([experiment], inits, workdir, (0, 1), SWEEP, command="must transfer")


def files(workdir):
    return {str(path.relative_to(workdir)): path for path in workdir.rglob("*.json") if path.name != "config.json"}


def test_table_has_a_score_of_each_init_and_seed(done):
    workdir, table = done
    (row,) = table.tasks
    assert (row.name, row.metric) == ("scene", "top1")
    assert (row.train_images, row.validation_images, row.test_images) == (22, 5, 22)
    assert {name: len(scores) for name, scores in row.scores.items()} == {"random": 2, "mine": 2}
    assert all(0 <= score <= 1 for scores in row.scores.values() for score in scores)
    assert (table.reference, table.candidate, table.command) == ("random", "mine", "must transfer")
    assert json.loads((workdir / "transfer.json").read_text()) == table.to_json()


def test_first_seed_tries_every_setting_and_the_others_take_the_best_on_validation(done):
    workdir, table = done
    cells = read_cells(workdir)
    for init in ("random", "mine"):
        own = [cell for cell in cells if cell.init == init]
        swept = [cell for cell in own if cell.seed == 0]
        assert {(cell.learning_rate, cell.steps) for cell in swept} == {(r, s) for r in (0.01, 0.1) for s in (2, 3)}
        (taken,) = [cell for cell in own if cell.seed == 1]
        best = max(cell.validation["top1"] for cell in swept)
        assert {cell.setting: cell.validation["top1"] for cell in swept}[taken.setting] == best
        assert table.tasks[0].chosen[init] == taken.setting


def test_nothing_but_json_and_what_images_added_is_left(done):
    workdir, _ = done
    assert {path.suffix for path in workdir.rglob("*") if path.is_file()} == {".json", ".npz"}
    for cell in read_cells(workdir):
        statistic = read_images(workdir, cell)
        assert 0 < statistic.num_images <= 22  # those with a label
        assert statistic.scores(np.ones((1, statistic.num_images))) == pytest.approx([cell.score])


def test_intervals_are_over_test_images_too(done):
    _, table = done
    assert table.intervals["scene"]["mine"].levels == ("fine-tuning", "test images")


def test_second_call_trains_nothing_and_says_the_same_in_another_file(done, experiment, inits, tmp_path, monkeypatch):
    workdir, table = done
    monkeypatch.setattr(module, "Trainer", None)
    out = tmp_path / "tables" / "table.json"
    assert transfer([experiment], inits, workdir, (0, 1), SWEEP, command="must transfer", out=out) == table
    assert json.loads(out.read_text()) == table.to_json()


def test_cells_do_not_depend_on_their_order(done, experiment, inits, tmp_path):
    workdir, _ = done
    one = Sweep((0.1,), (3,))
    transfer([experiment], dict(reversed(inits.items())), tmp_path, (0,), one)
    for again in read_cells(tmp_path):
        (before,) = [c for c in read_cells(workdir) if (c.init, c.setting, c.seed) == (again.init, again.setting, 0)]
        assert (again.test, again.weights) == (before.test, before.weights)


def test_sweep_can_follow_a_single_setting(experiment, inits, tmp_path):
    transfer([experiment], inits, tmp_path, (0,), Sweep((0.1,), (2,)))
    table = transfer([experiment], inits, tmp_path, (0,), Sweep((0.1,), (2, 3)))
    assert set(table.tasks[0].chosen) == set(inits) and len(read_cells(tmp_path)) == 4


def test_setting_that_diverges_is_a_cell_without_a_score_and_the_others_are_made(experiment, inits, done, tmp_path):
    guarded = dataclasses.replace(experiment, guard=Guard(in_a_row=1))
    scores = transfer([guarded], inits, tmp_path, (0,), Sweep((1e38, 0.1), (3,))).tasks[0].scores
    assert {cell.score for cell in read_cells(tmp_path) if cell.learning_rate == 1e38} == {None}
    swept = {(cell.init, cell.setting, cell.seed): cell.score for cell in read_cells(done[0])}
    assert scores == {init: (swept[init, Setting(0.1, 3), 0],) for init in inits}
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".json"}
    assert left == {"lr0.1-steps3-seed0.npz"}


def test_run_its_export_and_its_checkpoint_of_model_garden_are_the_same_start(
    experiment, toy_run, done, tmp_path, monkeypatch
):
    monkeypatch.setattr(type(FORMATS["savedmodel"]), "parts", ("backbone",))
    export(toy_run, tmp_path / "export", ["savedmodel"], sizes=[toy.VIEW], batches=[1])
    FORMATS["garden"].write(load_student(toy_run), "backbone", tmp_path / "garden", {"input_size": list(toy.VIEW)})
    inits = {name: str(tmp_path / name) for name in ("export", "garden")}
    transfer([experiment], inits, tmp_path / "out", (0,), Sweep((0.1,), (3,)))
    (swept,) = [c for c in read_cells(done[0]) if (c.init, c.setting, c.seed) == ("mine", Setting(0.1, 3), 0)]
    cells = read_cells(tmp_path / "out")
    assert [cell.test for cell in cells] == [swept.test] * 2 and all(cell.weights for cell in cells)


def test_cells_of_an_earlier_sweep_have_no_say(done, experiment, inits, tmp_path):
    transfer([experiment], {"random": ""}, tmp_path, (0,), Sweep((0.3,), (2,)))
    table = transfer([experiment], inits, tmp_path, (0,), Sweep((0.1,), (3,)))
    assert set(table.tasks[0].scores) == set(inits) and table.tasks[0].settings == 1
    assert table.sweep == Sweep((0.1,), (3,))


def test_workdir_is_for_one_process_and_leftovers_of_a_kill_are_taken_away(done, experiment, inits, tmp_path):
    shutil.copytree(done[0], tmp_path / "copy")
    left = tmp_path / "copy" / "scene" / "mine" / "lr0.1-steps3-seed0"
    left.mkdir()
    (left / "weights").write_text("")
    with locked(tmp_path / "copy" / "scene"), pytest.raises(UserError, match="another run is at work there"):
        transfer([experiment], inits, tmp_path / "copy", (0,), Sweep((0.1,), (3,)))
    transfer([experiment], inits, tmp_path / "copy", (0,), Sweep((0.1,), (3,)))
    assert not left.exists()


def test_killed_transfer_is_taken_up(experiment, inits, done, tmp_path, monkeypatch):
    measure, calls = module.measure, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:  # two per cell: the first cell is there, the second one is not
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(module, "measure", killed)
    one = Sweep((0.1,), (3,))
    with pytest.raises(KeyboardInterrupt):
        transfer([experiment], inits, tmp_path, (0,), one)
    scores = transfer([experiment], inits, tmp_path, (0,), one).tasks[0].scores
    assert len(calls) == 6
    swept = {(cell.init, cell.setting, cell.seed): cell.test["top1"] for cell in read_cells(done[0])}
    assert scores == {init: (swept[init, cell.setting, 0],) for cell in read_cells(tmp_path) for init in [cell.init]}


def test_seed_in_a_path_is_that_of_the_cell(experiment, toy_run, tmp_path):
    for seed in (0, 1):
        (tmp_path / f"run-{seed}").symlink_to(toy_run)
    inits = {"mine": str(tmp_path / "run-{seed}")}
    table = transfer([experiment], inits, tmp_path / "out", (0, 1))
    assert len(table.tasks[0].scores["mine"]) == 2
    (tmp_path / "run-1").unlink()
    with pytest.raises(UserError, match="run-1"):
        transfer([experiment], inits, tmp_path / "out", (0, 1))


def test_each_pretraining_is_fine_tuned_with_each_seed_in_an_order_of_its_own(
    experiment, toy_run, tmp_path, monkeypatch
):
    seeds, trainer = [], module.Trainer
    monkeypatch.setattr(module, "Trainer", lambda experiment: seeds.append(experiment.seed) or trainer(experiment))
    for seed in (3, 4):
        (tmp_path / f"run-{seed}").symlink_to(toy_run)
    inits = {"random": "", "mine": str(tmp_path / "run-{seed}")}
    table = transfer([experiment], inits, tmp_path / "out", (0, 1), pretraining_seeds=(3, 4))
    assert (table.pretraining_seeds, table.seeds) == ((3, 3, 4, 4), (0, 1, 0, 1))
    assert seeds == [Draw(pretraining, seed).own_seed for pretraining in (3, 4) for seed in (0, 1)]
    assert len(read_cells(tmp_path / "out")) == 8
    assert table.tasks[0].pretrainings == {"random": (0, 0, 1, 1), "mine": (0, 0, 0, 0)}  # the same weights twice
    assert table.why_no_verdict == "one pre-training of mine: no verdict"


class Peaked:
    """Stands for the metric of a student: the score of a setting is best near one learning rate and number of steps."""

    def __init__(self, rate, steps):
        self.rate, self.steps = rate, steps

    def measure(self, student, *_):
        rate, steps = student
        return {"scene": self._metric(1 / (1 + abs(np.log(rate / self.rate)) + abs(np.log(steps / self.steps))))}

    def _metric(self, value):
        return types.SimpleNamespace(result=lambda: {"top1": value}, per_image=lambda score: None)


@pytest.fixture
def peaked(monkeypatch):
    """Replaces training and evaluation: `peaked(rate, steps)` has the best score there; returns the settings made."""

    def install(rate, steps):
        made = []

        class Trainer:
            def __init__(self, experiment):
                self.setting = experiment.optimizer.learning_rate, experiment.steps

            def run(self, folder, place):
                folder.mkdir(parents=True)
                made.append(self.setting)
                return self.setting

        monkeypatch.setattr(module, "Trainer", Trainer)
        monkeypatch.setattr(module, "measure", Peaked(rate, steps).measure)
        return made

    return install


def test_an_edge_is_said_and_extending_goes_on_until_the_optimum_is_inside(experiment, inits, tmp_path, peaked):
    made = peaked(0.4, 27)
    call = functools.partial(transfer, [experiment], inits, tmp_path, (0, 1), Sweep((0.1, 0.2), (1, 3)))
    (row,) = call().tasks
    assert row.edges == dict.fromkeys(inits, ("highest learning rate", "most steps"))
    assert "highest learning rate on 1 of 1, most steps on 1 of 1" in transfer_table(call())
    before = len(made)
    table = call(extend_sweep=True)
    (row,) = table.tasks
    assert row.chosen == dict.fromkeys(inits, Setting(0.4, 27)) and row.edges == {}
    assert (table.sweep, row.settings) == (Sweep((0.1, 0.2, 0.4, 0.8), (1, 3, 9, 27, 81)), 20)
    assert len(made) == before + 2 * (16 + 1)  # the other seed has the new setting
    assert call(extend_sweep=True) == table and len(made) == before + 2 * 17  # nothing is made again
    assert call().tasks[0].settings == 4  # without the flag, it is the sweep that was asked for


def test_extending_ends_where_no_optimum_is_inside(experiment, inits, tmp_path, peaked):
    peaked(1e9, 2)
    table = transfer([experiment], inits, tmp_path, (0,), Sweep((0.1, 0.2), ()), extend_sweep=True)
    assert table.sweep.learning_rates == (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
    assert table.tasks[0].edges == dict.fromkeys(inits, ("highest learning rate",))


def test_the_primary_endpoint_is_kept_before_the_run(experiment, inits, tmp_path, peaked):
    peaked(0.1, 3)
    call = functools.partial(transfer, [experiment], inits, tmp_path, budgets={"mine": Budget(5)})
    table = call(primary="scene")
    assert (table.primary, table.endpoint) == ("scene", "scene") and table.budgets == {"mine": Budget(5, None, None)}
    with pytest.raises(UserError, match=r"protocol\.json: the primary endpoint is 'scene', and now 'mean'"):
        call()
    with pytest.raises(UserError, match="primary endpoint 'depth' received, expected one of"):
        call(primary="depth")
    with pytest.raises(UserError, match="budget of 'x' received, expected one of"):
        call(primary="scene", budgets={"x": Budget()})
    with pytest.raises(UserError, match="extend_sweep received without a sweep"):
        call(primary="scene", extend_sweep=True)


def test_other_weights_under_the_same_name_are_refused(done, experiment, inits):
    workdir, _ = done
    with pytest.raises(UserError, match="other weights"):
        transfer([experiment], inits | {"mine": ""}, workdir, (0, 1), SWEEP)


def test_final_figures_are_made_with_the_setting_that_each_was_given(done, experiment, inits, toy_data, tmp_path):
    workdir = shutil.copytree(done[0], tmp_path / "sweep")
    for path in (workdir / "scene").glob("*/lr*-seed0.json"):  # each initialization prefers another
        cell = json.loads(path.read_text())
        best = (cell["learning_rate"], cell["steps"]) == ((0.01, 2) if cell["init"] == "random" else (0.1, 3))
        path.write_text(json.dumps(cell | {"validation": {"top1": float(best)}}))
    whole = dataclasses.replace(experiment, train=(str(toy_data), experiment.validation), validation="")
    table = transfer([whole], inits, tmp_path / "final", (0, 1), settings_of=workdir)
    cells = read_cells(tmp_path / "final")
    assert {(c.init, c.learning_rate, c.steps) for c in cells} == {("random", 0.01, 2), ("mine", 0.1, 3)}
    assert len(cells) == 4 and {c.train_images for c in cells} == {27}
    (row,) = table.tasks
    assert row.settings == 4 and table.sweep == done[1].sweep and set(row.scores) == set(inits)
    assert "best of 4 settings" in transfer_table(table)
    for folder in (workdir, tmp_path / "final"):  # a task that an earlier call has made
        shutil.copytree(folder / "scene", folder / "other")
        for path in (folder / "other").rglob("lr*.json"):
            path.write_text(path.read_text().replace('"task": "scene"', '"task": "other"'))
    table = transfer([whole], inits, tmp_path / "final", (0, 1), settings_of=workdir)
    assert [set(row.scores) for row in table.tasks] == [set(inits)] * 2
    with pytest.raises(UserError, match="no setting was chosen for 'other' on scene"):
        transfer([whole], {"random": "", "other": ""}, tmp_path / "x", (0,), settings_of=workdir)


def test_other_records_in_the_same_folder_are_refused(experiment, tmp_path):
    test = tmp_path / "test"
    toy.write_dataset(test, toy.toy_records(3, seed=2))
    moved = dataclasses.replace(experiment, test=str(test))
    transfer([moved], {"random": ""}, tmp_path / "out")
    shutil.rmtree(test)
    toy.write_dataset(test, toy.toy_records(3, seed=3))
    with pytest.raises(UserError, match=r"test: holds other records"):
        transfer([moved], {"random": ""}, tmp_path / "out", (0, 1))


def test_weights_of_another_trunk_or_of_a_later_seed_are_missed_before_the_first_step(
    experiment, toy_data, toy_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "Trainer", None)
    (tmp_path / "run-0").symlink_to(toy_run)
    with pytest.raises(UserError, match="run-1"):
        transfer([experiment], {"random": "", "mine": str(tmp_path / "run-{seed}")}, tmp_path / "out", (0, 1))
    shutil.copytree(toy_run, tmp_path / "other")
    said = (tmp_path / "other" / "student" / "architecture.json").read_text()
    (tmp_path / "other" / "student" / "architecture.json").write_text(said.replace("resnet-10", "resnet-18"))
    with pytest.raises(UserError, match=r"other: its trunk.backbone is 'resnet-18', the config's 'resnet-10'"):
        transfer([experiment], {"mine": str(toy_run), "other": str(tmp_path / "other")}, tmp_path / "out")


def test_where_lower_is_better_the_lowest_is_chosen_starred_and_ahead(experiment, inits, tmp_path, monkeypatch):
    monkeypatch.setattr(Depth, "scores", (Score("RMSE", "m", "lower"), Score("delta1")))
    depth = dataclasses.replace(experiment, tasks=(toy.DEPTH,))
    table = transfer([depth], inits, tmp_path, (0,), Sweep((1e-4, 0.03), (2,)))
    cells = read_cells(tmp_path)
    (row,) = table.tasks
    assert {(cell.metric, cell.unit, cell.better) for cell in cells} == {("RMSE", "m", "lower")}
    for init in inits:
        swept = [cell for cell in cells if cell.init == init]
        best = min(swept, key=lambda cell: cell.validation["RMSE"])
        assert row.chosen[init] == best.setting and row.scores[init] == (best.test["RMSE"],)
        assert len({cell.validation["RMSE"] for cell in swept}) == 2
    better = min(inits, key=lambda init: row.scores[init])
    text = transfer_table(table)
    (line,) = [line for line in text.splitlines() if line.startswith("depth  RMSE")]
    assert row.best == {better} and line.count(" m") == 2 and "%" not in line
    assert line.index("*") < line.rindex(" m") if better == "random" else line.endswith("*")
    assert f"better than that of random on {int(better == 'mine')} of 1 tasks" in text.splitlines()[-1]
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"its metric is RMSE \(m, lower is better\), that of the task is delta1"):
        transfer([depth], inits, tmp_path, (0,), Sweep((1e-4, 0.03), (2,)))
    for cell in cells:
        dataclasses.replace(cell, method=1).write(tmp_path)
    with pytest.raises(UserError, match=r"another version made it, .* give another --workdir$"):
        transfer([depth], inits, tmp_path, (0,), Sweep((1e-4, 0.03), (2,)))


def test_names_that_are_paths_write_nothing_outside_the_workdir(experiment, tmp_path):
    evil = dataclasses.replace(experiment, tasks=(dataclasses.replace(toy.SCENE, name="../../evil"),))
    with pytest.raises(UserError, match=r"transfer: '\.\./\.\./evil' received; expected the name of a task"):
        transfer([evil], {"random": ""}, tmp_path / "a" / "b")
    for init in ("..", "/tmp", "a/b"):
        with pytest.raises(UserError, match="expected the name of an initialization"):
            transfer([experiment], {init: ""}, tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_run_is_refused_in_one_line(experiment, toy_data, tmp_path):
    both = toy.experiment(toy_data, test=str(toy_data))
    for experiments, words in (
        ([both], "one task per config"),
        ([], "no task received"),
        ([experiment, experiment], "each once"),
        ([dataclasses.replace(experiment, test="")], "no `test` set"),
        ([dataclasses.replace(experiment, validation="")], "needs a `validation` set"),
        ([dataclasses.replace(experiment, validation=experiment.test)], "not the test set"),
    ):
        with pytest.raises(UserError, match=words):
            transfer(experiments, {"random": ""}, tmp_path, sweep=SWEEP)
    with pytest.raises(UserError, match="reference 'other'"):
        transfer([experiment], {"random": ""}, tmp_path, reference="other")
