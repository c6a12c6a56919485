import pytest

from must_tf.errors import cut, differences, first_line, one_line

TEACHER = {"path": "a.onnx", "task": {"min_score": 0.5, "class_names": ["cat", "dog"]}}


def changed(**fields):
    return TEACHER | {"task": TEACHER["task"] | fields}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
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
def test_differences_name_the_innermost_values(before, now, expected):
    assert list(differences(before, now)) == expected


def test_long_values_are_shortened():
    (message,) = differences({"names": ["name"] * 1000}, {"names": []})
    assert message.startswith('names: ["name", "name"') and message.endswith("..., now []") and len(message) < 130


def test_a_long_reason_keeps_its_end():
    reason = RuntimeError(f"[Runtime] : 1 : FAIL : {'at some place of the source: ' * 50}\nno such file: weights.bin")
    line = one_line(reason)
    assert len(line) == 300 and line.startswith("[Runtime] : 1 : FAIL") and line.endswith("no such file: weights.bin")
    assert cut("short", 5) == "short" and one_line(ValueError()) == "ValueError"


def test_first_line_of_an_error_in_a_graph_is_the_reason():
    """Before it come places in the program, which a user does not know."""
    places = (
        'Detected at node Reduce defined at (most recent call last):\n  File "run.py", line 1, in f\n\n  File "x"\n'
    )
    for text in (
        "",
        places,
        "Detected at node Reduce defined at (most recent call last):\n<stack traces unavailable>\n",
    ):
        error = Exception(f"Graph execution error:\n\n{text}\nAborted by: deadline\n\t [[{{{{node Reduce}}}}]]")
        assert first_line(error) == "Aborted by: deadline"
    assert first_line(Exception("plain\nmore")) == "plain" and first_line(ValueError()) == "ValueError"
