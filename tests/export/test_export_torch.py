import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tf_keras

from must_tf.export import FORMATS, export, plain
from must_tf.export.images import made_images
from must_tf.garden import BACKBONES
from must_tf.student import Student
from must_tf.tasks import Classification, Depth
from must_tf.teachers import pt2
from must_tf.trunk import Trunk

torch = pytest.importorskip("torch", reason="torch is not installed: exports to PyTorch are not tested")

import safetensors.numpy  # noqa: E402

from must_tf.export.torch import FPN, PROGRAM, RESNET, fpn_weights, resnet_weights, torchvision_name, traced  # noqa: E402
from must_tf.export.torch_graph import Graph  # noqa: E402

FORMAT = FORMATS["torch"]
FACTS = {"normalization": {"inside": True}}
NAMES = json.loads((Path(__file__).parents[1] / "data" / "torchvision_names.json").read_text())  # of torchvision 0.28


def assert_close(given, wanted):
    assert set(given) == set(wanted)
    for name in wanted:
        assert np.abs(given[name] - wanted[name]).max() <= 1e-5 * np.abs(wanted[name]).max(), name


def features(graph, images):
    with torch.no_grad():
        found = graph(torch.from_numpy(images).permute(0, 3, 1, 2))
    return {name: values.permute(0, 2, 3, 1).numpy() for name, values in found.items()}


def graph_of(student):
    return Graph(plain.build(tf_keras, student))


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    """The student with levels P3 to P7, and its files."""
    from must_tf.saving import load_student

    student, folder = load_student(detector), tmp_path_factory.mktemp("torch") / FORMAT.path("backbone")
    FORMAT.write(student, "backbone", folder, FACTS)
    return student, folder


def test_program_gives_the_students_features_at_any_size_and_batch(folder):
    student, where = folder
    run = FORMAT.load(where)
    for batch, size in ((1, (32, 32)), (3, (64, 96)), (2, (224, 160))):  # sides of one pixel, odd and even ones in P5
        images = made_images(batch, size)
        assert_close(run(images), student.features(images))


@pytest.mark.parametrize(
    "trunk", [Trunk("resnet-50", 0.25, 3, 6, 16), Trunk("resnet-34", 0.25, 2, 4, 16), Trunk("resnet-10", 0.25, 5, 7, 8)]
)
def test_any_resnet_and_any_pyramid(trunk):
    student, images = Student([Depth("depth")], trunk), made_images(2, (96, 64))
    assert_close(features(graph_of(student), images), student.features(images))


def test_names_and_shapes_are_those_of_torchvision():
    graph = graph_of(Student([Depth("depth")], Trunk("resnet-18", 1.0, 3, 7, 256)))
    wanted = {name: shape for name, shape in NAMES["resnet18"].items() if not name.startswith("fc.")}
    found = {name: list(value.shape) for name, value in resnet_weights(graph).items()}
    shortcut = {name for name in found if name.startswith("layer1.0.downsample.")}  # Model Garden's, see the snippet
    assert {name: shape for name, shape in found.items() if name not in shortcut} == wanted and len(shortcut) == 6
    assert {name: list(value.shape) for name, value in fpn_weights(graph).items()} == NAMES["fpn"]
    bottlenecks = graph_of(Student([Classification("scene", ("a", "b"))], Trunk("resnet-50", 0.25)))
    assert set(resnet_weights(bottlenecks)) | {"fc.weight", "fc.bias"} == set(NAMES["resnet50"])


def test_weights_with_the_norms_of_others_compute_the_same(folder):
    """Norms of epsilon 1e-5, and a pyramid without norms: built of the files alone."""
    student, where = folder
    graph, images = graph_of(student), made_images(2, (64, 96))
    saved = safetensors.numpy.load_file(where / RESNET) | safetensors.numpy.load_file(where / FPN)
    for layer in graph.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eps = 1e-5
    for i in (0, 1, 2):
        graph.layers[f"fpn_norm_{i + 3}"] = torch.nn.Identity()
        conv = graph.layers[f"fpn_post_hoc_{i + 3}"]
        conv.load_state_dict({key: torch.from_numpy(saved[f"layer_blocks.{i}.0.{key}"]) for key in ("weight", "bias")})
    for name, layer in graph.layers.items():
        if place := torchvision_name(name):
            keys = [key for key in saved if key.startswith(f"{place}.")]
            layer.load_state_dict({key.rpartition(".")[2]: torch.from_numpy(saved[key]) for key in keys})
    found, wanted = features(graph, images), student.features(images)
    assert_close({name: found[name] for name in ("C5", "P3", "P4", "P5")}, {n: wanted[n] for n in wanted if n < "P6"})


def test_program_only_computes_and_does_not_name_the_machine(folder):
    path = folder[1] / PROGRAM
    pt2.check(str(path))
    data = path.read_bytes()
    assert not [word for word in (str(Path.home()), str(Path(plain.__file__).parent)) if word.encode() in data]


def test_a_student_without_pyramid_has_no_file_of_it(everywhere):
    assert {path.name for path in (everywhere[0] / "torch").iterdir()} == {PROGRAM, RESNET}


def test_normalized_images_where_normalization_is_outside(run, tmp_path):
    student, images = run[1], made_images(1, (64, 64))
    normalized = (images - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    FORMAT.write(student, "backbone", tmp_path / "torch", {"normalization": {"inside": False}})
    assert_close(FORMAT.load(tmp_path / "torch")(normalized.astype(np.float32)), student.features(images))


def test_another_backbone_computes_the_same_and_its_weights_are_parameters():
    student = Student([Depth("depth")], Trunk("mobilenet-v3-small", 0.25, 4, 6, 8))
    graph, images = traced(student), made_images(1, (32, 64))
    assert_close(features(graph, images), student.features(images))
    assert sum(weight.numel() for weight in graph.parameters()) == sum(
        int(np.prod(weight.shape)) for part in (student.backbone, student.decoder) for weight in part.trainable_weights
    )


@pytest.mark.slow
@pytest.mark.parametrize("backbone", sorted(name for name in BACKBONES if not re.search("resnet|b[1-7]|l2", name)))
def test_programs_of_all_backbones_give_the_students_features(backbone, tmp_path):
    widths = {"mobile": 0.25, "cspdar": 0.25}
    trunk = Trunk(backbone, widths.get(backbone[:6], 1), 3, 7, 8, se_ratio=0.25 if backbone[-2:] == "b0" else 0)
    synchronized = backbone == "mobilenet-v1"  # such norms are no operation of their own
    student = Student([Depth("depth")], dataclasses.replace(trunk, sync_norm=synchronized))
    FORMAT.write(student, "backbone", tmp_path, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == [PROGRAM]
    pt2.check(str(tmp_path / PROGRAM))
    run = FORMAT.load(tmp_path)
    for batch, size in ((1, (32, 32)), (3, (64, 96)), (2, (224, 160))):
        images = made_images(batch, size)
        assert_close(run(images), student.features(images))


def test_the_card_shows_others_resnets_only_where_they_have_this_one():
    wide, narrow, other = ({"trunk": {"backbone": name, "width": width}} for name, width in
                           (("resnet-50", 1.0), ("resnet-50", 0.25), ("mobilenet-v2", 1.0)))  # fmt: skip
    assert "torchvision.models" in FORMAT.usage(wide)
    for facts in (narrow, other):
        assert "torchvision.models" not in FORMAT.usage(facts) and "take the program" in FORMAT.usage(facts)


COMPARED = """
import numpy as np
from torchvision.ops import FeaturePyramidNetwork

fpn = FeaturePyramidNetwork([128, 256, 512], 32).eval()
fpn.load_state_dict(safetensors.torch.load_file("torch/fpn.safetensors"), strict=True)
levels = {}
for name, layer in (("P3", model.layer2), ("P4", model.layer3), ("P5", model.layer4)):
    layer.register_forward_hook(lambda layer, inputs, outputs, name=name: levels.update({name: outputs}))
with torch.no_grad():
    model.eval()(torch.from_numpy(np.load("images.npy")))
    np.savez("found.npz", C5=levels["P5"], **fpn(levels))
"""


@pytest.mark.slow
def test_torchvisions_own_classes_load_the_weights_and_give_the_students_features(finish, tmp_path):
    """In an environment with torchvision's own PyTorch; some GB are downloaded."""
    trunk = Trunk("resnet-18", 1.0, 3, 5, 32)
    student = finish(tmp_path / "run", [Depth("depth")], trunk=trunk)
    export(tmp_path / "run", tmp_path / "out", ["torch"], sizes=[(64, 64)], batches=[1])
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "torch", "torchvision", "safetensors", "numpy"], check=True)
    snippet = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)[1]
    images = made_images(2, (96, 64))
    normalized = (images - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    np.save(tmp_path / "out" / "images.npy", normalized.astype(np.float32).transpose(0, 3, 1, 2))
    subprocess.run([python, "-c", snippet + COMPARED], check=True, cwd=tmp_path / "out")
    assert_close(dict(np.load(tmp_path / "out" / "found.npz")), student_features(student, images))


def student_features(student, images):
    return {name: values.numpy().transpose(0, 3, 1, 2) for name, values in student.features(images).items()}
