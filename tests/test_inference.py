import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.inference import evaluate, predict
from must_tf.records import open_dataset
from must_tf.tasks import Depth
from must_tf.training import load_student


class Oracle:
    """Is no student: says what the labels say, image by image in the dataset's order."""

    def __init__(self, dataset, tasks):
        self.tasks = {task.name: task for task in tasks}
        self.records = dataset.records()
        self.shapes = set()

    def infer(self, images):
        self.shapes.add(tuple(images.shape))
        outputs = {name: [] for name in self.tasks}
        for _ in range(len(images)):
            record = next(self.records, None)
            for name, task in self.tasks.items():
                label, size = (record.labels.get(name), (record.height, record.width)) if record else (None, (8, 8))
                target = task.transform(toy.target(task, label, *size), toy.fit_view(size))
                outputs[name].append(toy.perfect_outputs(task, toy.numpy(target)))
        return {name: tf.nest.map_structure(lambda *v: tf.stack(v), *values) for name, values in outputs.items()}


@pytest.mark.parametrize("batch_size", [22, 6])
def test_who_says_what_the_labels_say_has_the_perfect_scores(toy_data, batch_size):
    dataset = open_dataset(toy_data)
    oracle = Oracle(dataset, toy.TASKS)
    scores = evaluate(oracle, dataset, toy.VIEW, batch_size=batch_size)
    assert set(scores) == {task.name for task in toy.TASKS}
    for task in toy.TASKS:
        assert scores[task.name][task.main_score.name] == pytest.approx(1, abs=0.02)  # boxes that are slivers aside
    assert oracle.shapes == {(batch_size, *toy.VIEW, 3)}  # the last batch is filled up: one trace


@pytest.fixture(scope="module")
def student(toy_run):
    return load_student(toy_run)


def test_scores_do_not_depend_on_the_batch_size(toy_data, student):
    dataset = open_dataset(toy_data)
    some, others = (evaluate(student, dataset, toy.VIEW, batch_size=size) for size in (5, 22))
    for task in some:
        assert some[task] == pytest.approx(others[task], abs=1e-3, nan_ok=True)


def test_tasks_may_be_chosen(toy_data, student):
    scores = evaluate(student, open_dataset(toy_data), toy.VIEW, ["depth", "scene"])
    assert list(scores) == ["depth", "scene"]
    assert all(np.isfinite(value) for values in scores.values() for value in values.values())


def test_task_that_the_student_has_not_is_refused_with_the_nearest(toy_data, student):
    with pytest.raises(UserError, match="no task 'dept'; did you mean 'depth'"):
        evaluate(student, open_dataset(toy_data), toy.VIEW, ["dept"])


def test_task_that_the_data_lack_is_refused_by_name(student, tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    toy.write_dataset(tmp_path / "d", [toy.record(image, {"scene": 1})], [toy.SCENE], 1)
    dataset = open_dataset(tmp_path / "d")
    assert set(evaluate(student, dataset, toy.VIEW)) == {"scene"}
    with pytest.raises(UserError, match="no label of task 'depth'"):
        evaluate(student, dataset, toy.VIEW, ["depth"])


def test_data_without_any_of_the_students_tasks_are_refused(student, tmp_path):
    other = Depth("other")
    toy.write_dataset(
        tmp_path / "d", [toy.record(np.zeros((8, 8, 3), np.uint8), {"other": np.ones((8, 8))})], [other], 1
    )
    with pytest.raises(UserError, match="no labels of the student's tasks"):
        evaluate(student, open_dataset(tmp_path / "d"), toy.VIEW)


def test_labels_are_those_of_the_image_in_whatever_size_they_are_asked_for(toy_data, student):
    record = next(open_dataset(toy_data).records())
    size = (2 * record.height, 3 * record.width)
    own, large = predict(student, record.encoded, toy.VIEW), predict(student, record.encoded, toy.VIEW, size)
    for name in ("stuff", "depth"):
        assert own[name].shape == (record.height, record.width) and large[name].shape == size
    assert (np.repeat(np.repeat(own["stuff"], 2, 0), 3, 1) == large["stuff"]).mean() > 0.8  # all but the edges
    np.testing.assert_allclose(own["things"]["boxes"], large["things"]["boxes"], atol=1e-5)
