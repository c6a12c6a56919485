"""Writes tiny ONNX models whose outputs do not depend on the image."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def save(path, image=(1, 3, 64, 64), metadata=None, others=(), scaled_by=None, batched=False, **outputs):
    """Writes a model.

    Args:
      path: the file.
      image: shape of the input `images`; a text is an open axis.
      metadata: texts by name.
      others: further inputs: (name, dtype, shape).
      scaled_by: name of one of them, [batch, 2], by which outputs of a last axis of 4 are multiplied, as (a, b, a, b).
      batched: whether outputs [1, ...] are repeated for every image of the batch.
      outputs: arrays by name.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0, **({"axes": [1, 2, 3]} if batched else {}))
    ]
    nodes += [helper.make_node("Mul", ["mean", "nothing"], ["zero"])]
    if scaled_by:
        nodes += [helper.make_node("Cast", [scaled_by], ["size"], to=TensorProto.FLOAT)]
        nodes += [helper.make_node("Concat", ["size", "size"], ["sizes"], axis=1)]
        nodes += [helper.make_node("Unsqueeze", ["sizes", "one"], ["factor"])]
    for name, values in outputs.items():
        kind = _KINDS[values.dtype.name]
        scaled = scaled_by and values.shape[-1] == 4
        reshaped = f"{name}_shaped" if batched else "zero"
        nodes += [helper.make_node("Reshape", ["zero", f"{name}_shape"], [reshaped])] if batched else []
        nodes += [helper.make_node("Cast", [reshaped], [f"{name}_zero"], to=kind)]
        nodes += [helper.make_node("Mul", [f"{name}_in", "factor"], [f"{name}_scaled"])] if scaled else []
        nodes += [helper.make_node("Add", [f"{name}_scaled" if scaled else f"{name}_in", f"{name}_zero"], [name])]
    constants = {"nothing": np.float32(0), "one": np.array([1])} | {f"{name}_in": v for name, v in outputs.items()}
    constants |= {f"{name}_shape": np.array([-1] + [1] * (v.ndim - 1)) for name, v in outputs.items() if batched}
    first = ["batch"] if batched else []
    graph = helper.make_graph(
        nodes,
        "constant",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, image),
            *(helper.make_tensor_value_info(name, _KINDS[dtype], shape) for name, dtype, shape in others),
        ],
        [
            helper.make_tensor_value_info(name, _KINDS[v.dtype.name], [*first, *v.shape[len(first) :]])
            for name, v in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
