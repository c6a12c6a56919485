import pytest

from must_tf.errors import UserError
from must_tf.teachers import load_teacher


def test_student_is_its_own_card(toy_run, tmp_path):
    teacher = load_teacher("depth", f"student:{toy_run}")
    described = teacher.describe()
    assert (described["format"], described["resize"]) == ("student", "fit")
    assert set(described["libraries"]) == {"tensorflow", "tf_keras"}
    with pytest.raises(
        UserError, match=r"card.yaml: a card for task 'depth', whose teacher is a student; it needs none"
    ):
        load_teacher("depth", f"student:{toy_run}", "card.yaml")
    with pytest.raises(UserError, match="no task 'dept'; did you mean 'depth'"):
        load_teacher("dept", f"student:{toy_run}")
