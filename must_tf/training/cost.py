"""Counts the operations and the memory of a training step: its graph is traced for one image, and not run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from must_tf.geometry import stretch
from must_tf.records import Record, serialize
from must_tf.records.schema import parse_encoded
from must_tf.tasks import Task
from must_tf.training.assembly import assemble
from must_tf.training.config import Experiment
from must_tf.training.step import Step


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image takes in a step.

    Operations are those of convolutions and matrix products, two per multiply-add.

    Attributes:
      forward: operations of the forward pass.
      step: operations of the whole step.
      activations: bytes of what the backward pass reads of the forward pass.
      copies: bytes of the weights in the type that is computed in; the same for any number of images.
    """

    forward: int
    step: int
    activations: int
    copies: int


def make_step(experiment: Experiment) -> Step:
    """Makes the step of training, with a batch in one part and without XLA, so that its graph can be counted."""
    optimizer = dataclasses.replace(experiment.optimizer, accumulate=1)
    return assemble(dataclasses.replace(experiment, optimizer=optimizer, jit_compile=False)).step


def cost_of(step: Step, tasks: Sequence[Task], size: tuple[int, int]) -> Cost:
    """Counts the graph of a step of one image of this size.

    A tensor of the forward pass counts once, in its type, where an operation of the backward pass reads it, as
    TensorFlow keeps it. XLA computes some of them again, and needs less.
    """
    images = tf.TensorSpec([1, *size, 3], tf.uint8)
    graph = step.__call__.get_concrete_function((images, targets_like(tasks, size))).graph
    needed, of_images = _needed(graph), _of_images(graph)
    operations = [op for op in graph.get_operations() if op in needed]
    # The tape makes its first operation when the whole forward pass is there.
    start = next(i for i, op in enumerate(operations) if op.name.startswith("gradient_tape"))
    forward, before = operations[:start], set(operations[:start])
    read = [tensor for op in operations[start:] for tensor in op.inputs if tensor.op in before]
    kept = list({tensor.ref(): tensor for tensor in map(_buffer, read)}.values())
    # A variable that is read is no copy of it.
    copies = [tensor for tensor in kept if tensor.op not in of_images and tensor.op.type != "ReadVariableOp"]
    return Cost(
        forward=sum(map(_flop, forward)),
        step=sum(map(_flop, operations)),
        activations=sum(map(_bytes, (tensor for tensor in kept if tensor.op in of_images))),
        copies=sum(map(_bytes, copies)),
    )


def targets_like(tasks: Sequence[Task], size: tuple[int, int]) -> dict[str, Any]:
    """Returns the specs of the targets of a batch of one: those of an image without a label."""
    record = Record(tf.io.encode_png(tf.zeros([*size, 3], tf.uint8)).numpy(), "PNG", *size, "")
    found = parse_encoded(serialize(record, tasks), tasks)["targets"]
    moved = {task.name: task.transform(found[task.name], stretch(size, size)) for task in tasks}
    return tf.nest.map_structure(lambda value: tf.TensorSpec([1, *value.shape], value.dtype), moved)


def _needed(graph: tf.Graph) -> set[tf.Operation]:
    """Returns what the results and the changes of variables depend on; TensorFlow leaves out the rest."""
    found: set[tf.Operation] = set()
    waiting = [op for op in graph.get_operations() if op.op_def.is_stateful]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [tensor.op for tensor in op.inputs]
    return found


def _of_images(graph: tf.Graph) -> set[tf.Operation]:
    """Returns what depends on the batch, and so grows with it."""
    found: set[tf.Operation] = set()
    for op in graph.get_operations():  # in the order in which they were made
        is_batch = op.type == "Placeholder" and op.outputs[0].dtype != tf.resource
        if is_batch or any(tensor.op in found for tensor in op.inputs):
            found.add(op)
    return found


def _buffer(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the tensor whose memory this one shares."""
    while tensor.op.type in ("Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient"):
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def _bytes(tensor: tf.Tensor) -> int:
    """Returns a tensor's size; 0 where TensorFlow does not know it: resources, and what a batch norm sets aside."""
    return 0 if tensor.dtype == tf.resource else (tensor.shape.num_elements() or 0) * tensor.dtype.size


def _flop(op: tf.Operation) -> int:
    """Returns the operations of a convolution or a matrix product, two per multiply-add; 0 for anything else."""
    if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        return 2 * op.inputs[0].shape.num_elements() * op.outputs[0].shape[-1]
    if op.type not in _CONVOLUTIONS:
        return 0
    kernel, maps = _CONVOLUTIONS[op.type](op)
    window = kernel.shape[:2] if op.type.startswith("Depthwise") else kernel.shape[:3]
    return 2 * maps.shape.num_elements() * window.num_elements()


# A convolution's kernel, and the maps on the side of its output; both backward passes have as many products.
_CONVOLUTIONS: dict[str, Any] = {
    f"{kind}{suffix}": parts
    for kind in ("Conv2D", "DepthwiseConv2dNative")
    for suffix, parts in {
        "": lambda op: (op.inputs[1], op.outputs[0]),
        "BackpropInput": lambda op: (op.inputs[1], op.inputs[2]),
        "BackpropFilter": lambda op: (op.outputs[0], op.inputs[2]),
    }.items()
}
