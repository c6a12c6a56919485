import pytest

from must_tf.experiments.photos import run
from must_tf.experiments.photos.prepare import MODELS
from must_tf.experiments.photos.teacher import get_config


@pytest.fixture
def out(tmp_path):
    for task in (*MODELS, "depth"):
        (tmp_path / "truth" / task).mkdir(parents=True)
    return tmp_path


def test_every_stage_can_run_and_has_its_own_product(out):
    stages = run.plan(out, tuple(MODELS), 1.0)
    assert len({stage.name for stage in stages}) == len({stage.product for stage in stages}) == len(stages)
    done: set[str] = set()
    while len(done) < len(stages):
        ready = {stage.name for stage in stages if stage.name not in done and done.issuperset(stage.needs)}
        assert ready, "a stage waits forever"
        done |= ready


def test_all_five_tasks_are_labeled_and_four_are_evaluated(out):
    stages = {stage.name: stage for stage in run.plan(out, tuple(MODELS), 1.0)}
    listed = next(word for word in stages["label_labeled"].command if word.startswith("--teachers="))
    assert {pair.split("=")[0] for pair in listed.removeprefix("--teachers=").split(",")} == {
        *MODELS,
        "depth",
        "normals",
    }
    assert {name for name in stages if name.startswith("label_truth")} == {
        f"label_truth_{task}" for task in (*MODELS, "depth")
    }


def test_missing_model_is_left_out_and_the_others_are_used(out):
    stages = run.plan(out, ("segmentation",), 1.0)
    label = next(stage for stage in stages if stage.name == "label_labeled")
    assert "detection=" not in " ".join(label.command) and "segmentation=onnx:" in " ".join(label.command)


def test_licenses_of_the_photographs_are_passed_to_the_dataset(out):
    label = next(stage for stage in run.plan(out, (), 1.0) if stage.name == "label_labeled")
    license = next(word for word in label.command if word.startswith("--license="))
    for part in ("gcompris-qt-data: GPL-3", "opencv-doc: Apache-2.0", "scikit-image: BSD-3-Clause"):
        assert part in license


@pytest.mark.parametrize("task", ["depth", "normals"])
def test_trained_teachers_read_the_rooms_that_the_stages_render(out, task):
    products = {stage.product for stage in run.plan(out, (), 1.0)}
    config = get_config(task)
    assert f"{config.train[0]}/manifest.json" in products and f"{config.validation}/manifest.json" in products
    assert [t.name for t in config.tasks] == [task]


def test_folder_of_another_run_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "photos.json").write_text('{"scale": 0.5, "packages": []}')
    monkeypatch.setattr(run, "fetch_all", lambda wanted, cache: {})
    with pytest.raises(SystemExit) as ended:
        run.run([f"--out={tmp_path}"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "0.5" in line and "--out" in line
