import json

import numpy as np
import pytest
import tensorflow as tf
import toy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from must_tf.records import open_dataset
from must_tf.training import load_student, train
from must_tf.training.config import from_dict
from must_tf.training.monitor import read_metrics
from must_tf.training.validation import draw

TASKS = [toy.SCENE, toy.DEPTH]


@pytest.fixture(scope="module")
def experiment(toy_data):
    fields = {"steps": 2, "log_every": 1, "conflicts_every": 1, "evaluate_every": 2, "validation": str(toy_data)}
    return toy.experiment(toy_data, tasks=TASKS, **fields)


@pytest.fixture(scope="module")
def workdir(experiment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "tensorboard"
    train(experiment, workdir)
    return workdir


@pytest.fixture(scope="module")
def events(workdir):
    """What TensorBoard itself reads of the run."""
    return EventAccumulator(str(workdir / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def values(events, tag):
    return {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}


def test_scalars_are_those_of_the_metrics_file_and_of_the_clock(events, workdir):
    entries = read_metrics(workdir)
    told = {name for entry in entries for name in entry} - {"step"}
    assert set(events.PluginTagToContent("scalars")) == told | {"data_wait", "images_per_second"}
    for name in told:
        expected = {entry["step"]: np.float32(entry[name]) for entry in entries if name in entry}
        assert values(events, name) == expected


@pytest.mark.parametrize(
    "name", ["loss", "loss/scene", "loss/depth", "learning_rate", "cosine/scene/depth", "share/scene", "share/depth"]
)
def test_every_step_that_is_logged_has_its_scalars(events, name):
    assert set(values(events, name)) == {1, 2}


@pytest.mark.parametrize("name", ["validation/scene/top1", "validation/depth/delta1"])
def test_scores_are_at_the_steps_of_an_evaluation(events, name):
    assert set(values(events, name)) == {2}


def test_config_is_there_and_is_the_one_of_the_run(events, experiment):
    assert events.PluginTagToContent("text").keys() == {"config"}
    (text,) = values(events, "config").values()
    assert from_dict(json.loads(text.item().decode().removeprefix("```json").removesuffix("```"))) == experiment


def test_pictures_are_the_drawn_labels_and_predictions(events, workdir, experiment, toy_data):
    drawn = draw(load_student(workdir), open_dataset(toy_data), experiment.input_size)
    assert set(drawn) == {f"{task.name}/{what}" for task in TASKS for what in ("label", "prediction")}
    expected = {f"{name}/{i}": picture for name, pictures in drawn.items() for i, picture in enumerate(pictures)}
    assert events.PluginTagToContent("images").keys() == expected.keys()
    for tag, picture in expected.items():
        (shown,) = values(events, tag).items()
        step, (width, height, png) = shown
        assert step == 2 and (int(height), int(width)) == picture.shape[:2]
        found = tf.io.decode_png(png).numpy().astype(int)
        bound = 0 if "/label/" in tag else 2  # a batch of another size may round elsewhere
        assert np.median(np.abs(found - picture)) <= bound
        assert "/label/" not in tag or np.array_equal(found, picture)
