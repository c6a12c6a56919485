import json

import numpy as np
import pytest

from must_tf import garden
from must_tf.experiments.rooms import torch_benchmark
from must_tf.student import Student
from must_tf.tasks import Classification, Segmentation
from must_tf.trunk import Trunk

torch = pytest.importorskip("torch", reason="torch is not installed")

from must_tf.experiments import torch_student  # noqa: E402

SMALL = Trunk("resnet-10", 0.25, 3, 7, 16)


def kernel(values):
    """Returns a TensorFlow kernel [height, width, in, out] or [in, out] in PyTorch's layout."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[len(values.shape)]
    return torch.from_numpy(values.numpy().transpose(axes))


def fill(module, variables):
    """Copies the values of variables to a module's parameters, in their order."""
    with torch.no_grad():
        for values, variable in zip(module.parameters(), variables, strict=True):
            values.copy_(kernel(variable))


def channels_first(images):
    return torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy())


def channels_last(values):
    return values.detach().numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", ["resnet-10", "resnet-50"])
def test_backbones_agree_on_odd_sizes(name):
    trunk = Trunk(name, 0.25)
    ours, theirs = garden.backbone(trunk), torch_student.Backbone(trunk)
    blocks = {layer.name: layer for layer in ours.layers if "block" in layer.name and layer.trainable_variables}
    stem = [v for layer in ours.layers if layer.name not in blocks for v in layer.trainable_variables]
    fill(theirs.stem, stem)
    modules = [block for group in theirs.groups.values() for block in group]
    for block, layer in zip(modules, blocks.values(), strict=True):
        fill(block, layer.trainable_variables)
    images = np.random.default_rng(0).normal(size=[2, 65, 65, 3]).astype(np.float32)
    found, expected = theirs(channels_first(images)), ours(images, training=True)
    for level, values in expected.items():
        np.testing.assert_allclose(channels_last(found[level]), values, rtol=1e-3, atol=1e-3)


def test_pyramids_agree():
    generator = np.random.default_rng(0)
    sides = {"2": 40, "3": 20, "4": 10, "5": 5}
    backbone = garden.backbone(SMALL)
    ours, channels = garden.fpn(backbone, SMALL), {level: v.shape[-1] for level, v in backbone.output.items()}
    theirs = torch_student.Pyramid(SMALL, channels)
    for kind in ("lateral", "post_hoc", "coarser", "norm"):
        for level, module in getattr(theirs, kind).items():
            fill(module, ours.get_layer(f"{kind}_{level}").trainable_variables)
    levels = {level: generator.normal(size=[2, n, n, channels[level]]).astype(np.float32) for level, n in sides.items()}
    expected = ours(levels, training=True)
    found = theirs({level: channels_first(values) for level, values in levels.items()})
    assert set(found) == set(expected)
    for level, values in expected.items():
        np.testing.assert_allclose(channels_last(found[level]), values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("task", [Segmentation("a", ("x", "y", "z")), Classification("b", ("x", "y"))])
def test_students_have_the_same_parameters(task):
    ours = Student([task], SMALL)
    theirs = torch_student.Student(SMALL, task.num_classes, isinstance(task, Segmentation))
    shapes = sorted(tuple(values.shape) for values in theirs.parameters())
    assert shapes == sorted(tuple(kernel(v).shape) for v in ours.trainable_variables)


def test_steps_lower_the_loss_in_both_frameworks():
    task, trunk = Segmentation("a", ("x", "y", "z")), Trunk("resnet-10", 0.25, 2, 5, 16)
    data = torch_benchmark.random_batch(task, 64, 2)
    data[1]["mask"][:] = 1
    ours = torch_benchmark.our_step(task, Student([task], trunk), data)
    theirs = torch_benchmark.torch_step(task, trunk, "float32", data)[1]
    for step in (ours, theirs):
        losses = [step() for _ in range(12)]
        assert losses[-1] < losses[0]


@pytest.mark.slow
def test_benchmark_prints_and_writes_ratios(tmp_path, capsys):
    out = tmp_path / "benchmark.json"
    torch_benchmark.main(str(out), Trunk("resnet-10", 1.0, 2, 5, 16), 64, 2, 2)
    found = json.loads(out.read_text())
    for task in torch_benchmark.TASKS:
        for policy in torch_benchmark.POLICIES:
            assert found[f"{task}/{policy}"]["ratio"]["torch"] > 0
    assert capsys.readouterr().out.count("goal: at least 1.0") == 4
