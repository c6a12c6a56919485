import pytest

from must_tf.errors import differences

TEACHER = {"path": "a.onnx", "task": {"min_score": 0.5, "class_names": ["cat", "dog"]}}


def changed(**fields):
    return TEACHER | {"task": TEACHER["task"] | fields}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ({"a": 1, "b": 2}, {"a": 1, "b": None}, ["b: 2, now null"]),
        ({"a": 1}, {"b": 2}, ["a: 1, now nothing", "b: nothing, now 2"]),
        ({"x": TEACHER}, {"x": changed(min_score=0.3)}, ["x.task.min_score: 0.5, now 0.3"]),
        ({"x": TEACHER}, {"x": changed(class_names=["cat", "fox"])}, ['x.task.class_names[1]: "dog", now "fox"']),
        ({"x": TEACHER}, {"x": changed(class_names=["cat"])}, ['x.task.class_names: ["cat", "dog"], now ["cat"]']),
        ({"t": {"x-1": TEACHER}}, {"t": {"x-2": changed(min_score=0.3)}}, ["t.x-2.task.min_score: 0.5, now 0.3"]),
        ({"t": {"x-1": TEACHER}}, {"t": {"x-2": TEACHER}}, ['t: "x-1", now "x-2"']),
    ],
)
def test_differences_are_told_down_to_the_innermost(before, now, said):
    assert list(differences(before, now)) == said


def test_long_values_are_cut():
    (said,) = differences({"names": ["name"] * 1000}, {"names": []})
    assert said.startswith('names: ["name", "name"') and said.endswith("..., now []") and len(said) < 130
