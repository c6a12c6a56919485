"""Lists of class names: which lines are classes, and what is refused."""

import pytest

from must_tf.errors import UserError
from must_tf.sources.class_list import read_class_list


def listed(tmp_path, text, **arguments):
    (tmp_path / "classes.txt").write_bytes(text.encode())
    return read_class_list(tmp_path / "classes.txt", **arguments)


@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n", " \n\t\n"])
def test_empty_lines_at_the_end_say_nothing(tmp_path, end):
    assert listed(tmp_path, f"\ufeffcat \r\n dog{end}") == ("cat", "dog")


@pytest.mark.parametrize(("text", "number"), [("\ncat\n", 1), ("cat\n\ndog\n", 2), ("cat\n \n\ndog", 2)])
def test_an_empty_line_before_a_name_is_refused_where_labels_have_numbers(tmp_path, text, number):
    with pytest.raises(UserError, match=rf"classes\.txt: line {number} is empty; .* the name of class {number - 1}"):
        listed(tmp_path, text)
    assert "" not in listed(tmp_path, text, by_name=True)


def test_comments_are_classes_unless_the_format_has_some(tmp_path):
    assert listed(tmp_path, "#1\n#2\n") == ("#1", "#2")
    assert listed(tmp_path, "#\ncat\n#\n", by_name=True, comment="#") == ("cat",)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(("text", "said"), [("a\nb\na\n", "'a' is there twice"), ("\n", "names no class")])
def test_lists_without_a_name_and_names_that_are_there_twice_are_refused(tmp_path, text, said, by_name):
    with pytest.raises(UserError, match=rf"classes\.txt: {said}"):
        listed(tmp_path, text, by_name=by_name)
