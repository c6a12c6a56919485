import json
from pathlib import Path

import pytest
import toy

from must_tf.errors import UserError
from must_tf.parsing import FrozenDict
from must_tf.pipeline import Augment, Strong
from must_tf.training import Balance, Experiment, Optimizer, load_config
from must_tf.training.config import from_dict, to_dict

CONFIG = """
from must_tf.tasks import Depth, Segmentation
from must_tf.training import Experiment

def get_config(folder="data/a"):
    tasks = (Segmentation("stuff", ("wall", "floor")), Depth("depth"))
    return Experiment(tasks=tasks, train=(folder,), steps=100)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return str(path)


def test_config_is_what_the_file_returns(config):
    experiment = load_config(config)
    assert isinstance(experiment, Experiment) and experiment.train == ("data/a",)
    assert load_config(f"{config}:data/b").train == ("data/b",)


def test_installed_experiments_are_found_by_name():
    by_name = load_config("rooms/student.py")
    assert by_name == load_config("experiments/rooms/student.py")
    assert [task.name for task in load_config("rooms/teacher.py:depth").tasks] == ["depth"]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("steps", "7", 7),
        ("policy", "mixed_bfloat16", "mixed_bfloat16"),
        ("init_from", "runs/a", "runs/a"),
        ("input_size", "(64, 96)", (64, 96)),
        ("input_size", "64,96", (64, 96)),
        ("sizes", "64,96", (64, 96)),
        ("sizes", "(64, 96),(32, 64)", ((64, 96), (32, 64))),
        ("train", "a,b c", ("a", "b c")),
        ("train", "a", ("a",)),
        ("optimizer.learning_rate", "1e-3", 1e-3),
        ("optimizer.learning_rate", "1", 1.0),
        ("optimizer.name", "adamw", "adamw"),
        ("trunk.backbone", "resnet-18", "resnet-18"),
        ("trunk.sync_norm", "True", True),
        ("augment.flip", "False", False),
        ("augment.scale", "(0.5, 2)", (0.5, 2)),
        ("augment.mosaic", "0.5", 0.5),
        ("augment.strong.num_ops", "2", 2),
        ("augment.strong.magnitude", "9", 9.0),
        ("augment.strong", "{'blur': 0.5, 'noise': 0.05, 'cutout': 0.3}", Strong(blur=0.5, noise=0.05, cutout=0.3)),
        ("balance.weights.depth", "2.5", 2.5),
        ("balance.weights.depth", "2", 2.0),
        ("balance.weights", "{'depth': 3}", FrozenDict(depth=3.0)),
        ("trunk.sync_norm", "true", True),
        ("optimizer", "{'name': 'adamw'}", Optimizer("adamw")),
        ("balance.recipes.stuff", "(256, 0.1)", (256, 0.1)),
    ],
)
def test_override_sets_its_field_and_no_other(config, field, text, value):
    plain, changed = load_config(config), load_config(config, {field: text})
    node = changed
    for key in field.split("."):
        node = node[key] if isinstance(node, dict) else getattr(node, key)
    assert node == value and type(node) is type(value)
    top = field.split(".")[0]
    differing = {key for key, stored in to_dict(changed).items() if stored != to_dict(plain)[key]}
    assert differing <= {top}


def test_sizes_are_squares_or_height_and_width_and_by_default_the_input_size(config):
    assert load_config(config, {"sizes": "96,(64, 128)"}).view_sizes == ((96, 96), (64, 128))
    assert load_config(config, {"input_size": "64,96"}).view_sizes == ((64, 96),)


def test_override_of_a_task_is_by_its_name(config):
    changed = load_config(config, {"tasks.depth.convention": "affine_inverse", "tasks.stuff.min_score": "0.7"})
    assert changed.tasks[1].convention == "affine_inverse" and changed.tasks[0].min_score == 0.7
    assert changed.tasks[0].class_names == ("wall", "floor")


@pytest.mark.parametrize(
    ("field", "text"), [("steps", "0"), ("optimizer.learning_rate", "-1"), ("augment.scale", "(2, 1)")]
)
def test_value_out_of_its_range_is_refused_by_its_flag_alone(config, field, text):
    with pytest.raises(UserError, match=rf"^--config\.{field}: \S+( \S+)? received, expected"):
        load_config(config, {field: text})


@pytest.mark.parametrize(
    ("field", "nearest"),
    [
        ("step", "'steps'"),
        ("optimizer.learning_rat", "'learning_rate'"),
        ("trunk.widht", "'width'"),
        ("tasks.dept.convention", "'depth'"),
        ("tasks.depth.conventio", "'convention'"),
    ],
)
def test_unknown_field_names_the_nearest(config, field, nearest):
    with pytest.raises(UserError, match=f"--config.{field}.*did you mean {nearest}"):
        load_config(config, {field: "1"})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("steps", "many"),
        ("steps", "1.5"),
        ("steps", "True"),
        ("steps", ""),
        ("optimizer.learning_rate", "fast"),
        ("optimizer", "1"),
        ("augment.flip", "1"),
        ("input_size", "64"),
        ("input_size", "(64,)"),
        ("input_size", "(64, 'a')"),
        ("input_size", "(64, 64.5)"),
        ("augment.scale", "(1, 2, 3)"),
        ("augment.scale", "()"),
        ("augment.mosaic", "1.5"),
        ("augment.mosaic", "yes"),
        ("augment.strong", "2"),
        ("augment.strong.num_ops", "1.5"),
        ("augment.strong.num_ops", "-1"),
        ("augment.strong.magnitude", "11"),
        ("augment.strong.blur", "2"),
        ("augment.strong.noise", "-1"),
        ("augment.strong.cutout", "big"),
        ("balance.weights.depth", "heavy"),
        ("balance.weights", "{'depth': 'heavy'}"),
        ("balance.recipes.stuff", "0.1"),
        ("trunk", "18"),
        ("tasks", "depth"),
        ("steps.x", "1"),
    ],
)
def test_value_of_another_type_is_refused_naming_field_and_value(config, field, text):
    with pytest.raises(UserError, match=f"--config.{field}"):
        load_config(config, {field: text})


def test_impossible_values_are_refused(config):
    with pytest.raises(UserError, match="'meters'"):
        load_config(config, {"tasks.depth.convention": "meters"})
    with pytest.raises(UserError, match="min_level"):
        load_config(config, {"trunk.min_level": "9"})


def test_a_config_beside_the_missing_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos.py").write_text("def get_config():\n    pass\n")
    Path("photoss_.py").write_text("print('no config')\n")
    with pytest.raises(UserError, match=r"photoss\.py: no such config; did you mean 'photos\.py'"):
        load_config("photoss.py")


def test_missing_config_names_the_nearest():
    with pytest.raises(UserError, match=r"rooms/studnt\.py: no such config; did you mean 'rooms/student\.py'") as error:
        load_config("rooms/studnt.py")
    assert "rooms/downstream.py" in str(error.value) and "benchmark" not in str(error.value)  # which is no config


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "defines no get_config"),
        ("get_config = 1", "defines no get_config"),
        ("get_config = dict", "an Exp"),
        ("def get_config(:", r"c\.py: is no Python: invalid syntax .*line 1"),
        ("\0", r"c\.py: is no Python: .*null bytes"),
        ("import no_such_module", r"c\.py: line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def get_config():\n    raise ValueError('a\\nb')", r"c\.py: line 2: ValueError: a b$"),
        ("def get_config():\n    return Experiment(step=3)", r"c\.py: line 2: NameError: name 'Experiment' is not"),
    ],
)
def test_file_that_is_no_config_is_refused(tmp_path, source, said):
    (tmp_path / "c.py").write_text(source)
    with pytest.raises(UserError, match=said):
        load_config(str(tmp_path / "c.py"))


def test_experiment_comes_back_from_json():
    experiment = toy.experiment(
        "a",
        "b",
        tasks=toy.VARIANTS,
        optimizer=Optimizer("adamw", ema=0.9),
        balance=Balance("paper", weights={"depth": 2.0}, recipes={"scene": (256, 0.1)}),
        augment=Augment(scale=(0.5, 2.0), strong=Strong(num_ops=2, cutout=0.5), mosaic=0.25),
    )
    assert from_dict(to_dict(experiment)) == experiment
    assert from_dict(json.loads(json.dumps(to_dict(experiment)))) == experiment


def test_experiment_of_an_older_version_has_the_defaults_of_what_is_new():
    experiment = toy.experiment("a", tasks=[toy.THINGS])
    value = json.loads(json.dumps(to_dict(experiment)))
    del value["mixing"], value["optimizer"]["ema"], value["tasks"][0]["doubtful_score"]
    assert from_dict(value) == experiment
    for place in (value, value["optimizer"]):
        place["pace"] = 1
        with pytest.raises(UserError, match="pace' is unknown"):
            from_dict(value)
        del place["pace"]


def test_experiment_of_defaults_is_a_key():
    experiment = toy.experiment("a")
    assert hash(experiment) == hash(from_dict(json.loads(json.dumps(to_dict(experiment)))))
