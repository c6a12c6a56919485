import numpy as np
import toy

from must_tf.experiments.rooms.backbone_alone import write
from must_tf.saving import load_student, parts
from must_tf.student import Student
from must_tf.training.initial import load_trunk


def test_a_run_starts_from_the_backbone_and_keeps_a_pyramid_of_its_own(toy_run, tmp_path):
    write(toy_run, tmp_path / "backbone")
    run, student = load_student(toy_run), Student([toy.STUFF], load_student(toy_run).architecture.trunk)
    before = [variable.numpy() for variable in student.decoder.variables]
    assert load_trunk(student, tmp_path / "backbone") == ["backbone"]
    for mine, its in zip(parts(student)["backbone"].variables, parts(run)["backbone"].variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())
    assert all((a == b.numpy()).all() for a, b in zip(before, student.decoder.variables, strict=True))
