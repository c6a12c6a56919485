import pytest
import tensorflow as tf
import toy

from must_tf.student import Student
from must_tf.training import Balance, Combine, Optimizer
from must_tf.training.assembly import assemble, seed_process
from must_tf.training.checkpoints import Checkpoints, variables_in

KEYS = ["student", "optimizer", "averages", "balancer", "combiner", "loss_scale", "good_steps", "rate_factor"]


@pytest.fixture(scope="module")
def assembly():
    """With all kinds of state."""
    fields = {"balance": Balance("uncertainty"), "combine": Combine("attittud", target="depth", rank=2)}
    optimizer = Optimizer("adamw", ema=0.5)
    return assemble(toy.experiment("nowhere", tasks=[toy.SCENE, toy.DEPTH], optimizer=optimizer, **fields))


def test_what_is_stored_is_what_is_reset(assembly, tmp_path):
    """Each variable of the state is in a checkpoint once, and nothing else is."""
    Checkpoints(tmp_path, 1, assembly.state).save(1, {})
    shapes = tf.train.load_checkpoint(str(tmp_path / "step-00000001" / "weights")).get_variable_to_shape_map()
    keys = {key for key in shapes if key.endswith("VARIABLE_VALUE")}
    variables = variables_in(assembly.state)
    assert len({id(variable) for variable in variables}) == len(variables) == len(keys)
    assert {key.split("/")[0] for key in keys} == set(KEYS) == set(assembly.state)


def test_what_is_trained_and_averaged_is_part_of_the_state(assembly):
    stored = {id(variable) for variable in variables_in(assembly.state)}
    trained = assembly.step.variables_in_order
    assert {id(variable) for variable in trained} <= stored
    averages = assembly.step.average.averages
    assert len(averages) == len(assembly.student.variables) and {id(variable) for variable in averages} <= stored


def test_seed_makes_the_same_student_whatever_was_made_before():
    experiment = toy.experiment("nowhere", tasks=[toy.SCENE], seed=3)
    students = []
    for others in range(2):
        for _ in range(others):
            Student([toy.SCENE], toy.TRUNK)
        seed_process(experiment)
        students.append(assemble(experiment).student)
    assert toy.same_weights(*students)
    assert [v.name for v in students[0].variables] == [v.name for v in students[1].variables]
    assert not toy.same_weights(students[0], Student([toy.SCENE], toy.TRUNK))
