"""Format `torch`: a `.pt2` program of the trunk, and its weights under the names of torchvision and timm."""

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.export import endpoints, plain
from must_tf.export.format import Card, Format
from must_tf.export.images import MADE, Images
from must_tf.export.parity import Runner
from must_tf.garden import is_resnet
from must_tf.runtime import pytorch, tracing
from must_tf.student import DEVIATION, MEAN, Student

PROGRAM, RESNET, FPN = "backbone.pt2", "resnet.safetensors", "fpn.safetensors"
_DEPTHS = (18, 34, 50, 101, 152)  # of the ResNets of torchvision and timm
_EPSILON = 1e-5  # of the batch norms of torchvision and timm
_BLOCK = re.compile(r"stage(\d)_block(\d+)_(?:(conv|norm)([1-3])|(shortcut)|(norm)0)")
_PLACES = {"conv": "conv", "norm": "bn"}
_STEM = {"stage1_conv": "conv1", "stage1_norm": "bn1"}
_SNIPPET = """
## Load it: PyTorch

`torch/backbone.pt2` runs as it is. It is the file that "Parity" below compares with the student:

```python
import torch

backbone = torch.export.load("torch/backbone.pt2").module()
images = torch.zeros(1, 3, {height}, {width})  # {pixels}
features = backbone(images)  # {features}
```
"""
_RESNET = """
To fine-tune, load `torch/resnet.safetensors` into the ResNet of torchvision or timm; both have these names.
`torch/fpn.safetensors`, of a student with a pyramid, goes into torchvision's `FeaturePyramidNetwork` (levels up to P5;
each level's batch norm is part of its convolution). Images are normalized as torchvision's: (RGB / 255 - [0.485, 0.456,
0.406]) / [0.229, 0.224, 0.225]. Where a window of stride 2 meets an even side, TensorFlow pads at the end, and PyTorch
on both sides; `as_trained` gives the layers the padding that the weights were trained with.

```python
import safetensors.torch
import torch
import torchvision


def as_trained(model):
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)) and layer.stride in (2, (2, 2)):
            kernel = layer.kernel_size if isinstance(layer.kernel_size, int) else layer.kernel_size[0]
            missing = max(kernel - 2, 0)
            before, layer.padding = missing // 2, 0
            pads = 2 * (before, missing - before)
            layer.register_forward_pre_hook(lambda layer, x, pads=pads: torch.nn.functional.pad(x[0], pads))
    return model


model = torchvision.models.{resnet}(weights=None)
model.fc = torch.nn.Identity()
if model.layer1[0].downsample is None:  # the student's first block has a convolution in its shortcut
    model.layer1[0].downsample = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 1, bias=False), torch.nn.BatchNorm2d(64))
model.load_state_dict(safetensors.torch.load_file("torch/resnet.safetensors"), strict=True)
model = as_trained(model)
```

In timm: `timm.create_model("{resnet}", num_classes=0)`.
"""
_OTHER_RESNET = """
torchvision and timm have no {backbone} of this width. `torch/resnet.safetensors` has its weights under their names, for
a class of your own, and `torch/fpn.safetensors` those of a pyramid.
"""
_PROGRAM = """
To fine-tune, take the program: its weights are parameters, and its batch norms stay as they are.
"""


class Torch(Format):
    """A folder: the trunk as a program of `torch.export`, and weights as safetensors under others' names."""

    name = "torch"
    parts = (endpoints.BACKBONE,)
    snippet = _SNIPPET

    def path(self, part: str) -> str:
        """Returns where the only part lies in an export."""
        del part
        return "torch"

    def require(self) -> None:
        """Raises a `UserError` unless all packages of the format are installed."""
        for name in ("torch", "safetensors"):
            _module(name)

    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes the program, which takes images as the card says, channels first; and of a ResNet its weights."""
        where.mkdir(parents=True, exist_ok=True)
        normalize = facts["normalization"]["inside"]
        if not is_resnet(student.architecture.trunk.backbone):
            _save_program(traced(student, normalize), where / PROGRAM)
            return
        from must_tf.export.torch_graph import Graph

        graph = Graph(plain.build(tf_keras, student, normalize))
        _save_program(graph, where / PROGRAM)
        save = _module("safetensors.numpy").save_file
        save(resnet_weights(graph), where / RESNET)
        if student.decoder is not None:
            save(fpn_weights(graph), where / FPN)

    def usage(self, facts: Card) -> str:
        """Adds how the weights are loaded into others' ResNets, where these have one of this depth and width."""
        trunk = facts["trunk"]
        if trunk["width"] == 1 and trunk["backbone"] in [f"resnet-{depth}" for depth in _DEPTHS]:
            return self.snippet + _RESNET
        return self.snippet + (_OTHER_RESNET if is_resnet(trunk["backbone"]) else "") + _PROGRAM

    def load(self, where: Path) -> Runner:
        """Returns the program; it takes and gives channels last here, as all formats."""
        torch = _module("torch")
        program = torch.export.load(str(where / PROGRAM)).module()

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            with torch.no_grad():
                found = program(torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2))
            return {name: values.permute(0, 2, 3, 1).numpy() for name, values in found.items()}

        return run


def traced(student: Student, normalize: bool = True) -> Any:
    """Returns the trunk as a module of PyTorch, whatever its backbone is."""
    from must_tf.export.torch_graph import Graph, Trunk
    from must_tf.export.torch_ops import TracedGraph

    def levels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = student.backbone((images - MEAN) / DEVIATION if normalize else images, training=False)
        return {f"C{level}": tf.cast(values, tf.float32) for level, values in found.items()}

    backbone = TracedGraph(tf.function(tracing.plain(levels), endpoints.SIGNATURE).get_concrete_function())
    return Trunk(backbone, None if student.decoder is None else Graph(plain.pyramid(tf_keras, student)))


def resnet_weights(graph: Any) -> dict[str, np.ndarray]:
    """Returns the backbone's weights by the names that torchvision and timm give them.

    Their batch norms add 1e-5 to the variance, and the student's may add more. The difference is part of
    `running_var`, so that a norm computes the same.
    """
    found: dict[str, np.ndarray] = {}
    for name, layer in graph.layers.items():
        if place := torchvision_name(name):
            found |= {f"{place}.{key}": value.numpy() for key, value in layer.state_dict().items()}
            if hasattr(layer, "eps"):
                found[f"{place}.running_var"] = np.maximum(layer.running_var.numpy() + (layer.eps - _EPSILON), 0)
    return _contiguous(found)


def fpn_weights(graph: Any) -> dict[str, np.ndarray]:
    """Returns the pyramid's weights, up to P5, by the names of torchvision's `FeaturePyramidNetwork`.

    It has no batch norms. Those of the student follow a convolution, and become part of it.
    """
    found: dict[str, np.ndarray] = {}
    levels = sorted(name.rpartition("_")[2] for name in graph.layers if name.startswith("fpn_lateral_"))
    for i, level in enumerate(levels):
        lateral, conv, norm = (graph.layers[f"fpn_{name}_{level}"] for name in ("lateral", "post_hoc", "norm"))
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        parts = {
            f"inner_blocks.{i}.0.weight": lateral.weight,
            f"inner_blocks.{i}.0.bias": lateral.bias,
            f"layer_blocks.{i}.0.weight": conv.weight * factor[:, None, None, None],
            f"layer_blocks.{i}.0.bias": (conv.bias - norm.running_mean) * factor + norm.bias,
        }
        found |= {name: value.detach().numpy() for name, value in parts.items()}
    return _contiguous(found)


def torchvision_name(name: str) -> str | None:
    """Returns a layer's place in a ResNet of torchvision; None where it has no weights, or is none of the backbone."""
    if not (match := _BLOCK.fullmatch(name)):
        return _STEM.get(name)
    stage, block, kind, number, shortcut, _ = match.groups()
    inside = f"{_PLACES[kind]}{number}" if kind else f"downsample.{0 if shortcut else 1}"
    return f"layer{int(stage) - 1}.{int(block) - 1}.{inside}"


def _contiguous(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(value, order="C") for name, value in weights.items()}


def _save_program(graph: Any, path: Path) -> None:
    """Writes a program of dynamic batch, height and width, without what names the machine that made it."""
    torch, config = _module("torch"), _module("torch.fx.experimental._config")
    side = torch.export.Dim
    sides = {0: side("batch"), 2: 32 * side("rows"), 3: 32 * side("columns")}
    with torch.no_grad(), config.patch(backed_size_oblivious=True):  # else maps of one row or column are refused later
        program = torch.export.export(graph, (torch.zeros(2, 3, 96, 160),), dynamic_shapes=(sides,))
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    ranges = sorted(program.range_constraints.items(), key=lambda item: str(item[0]))  # from a set: in any order
    program.range_constraints.clear()
    program.range_constraints.update(ranges)
    torch.export.save(program, path)


def _module(name: str) -> ModuleType:
    pytorch.load_beside_tensorflow()
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"format torch needs {name}, which is not installed; pip install 'must_tf[hf]'") from None
