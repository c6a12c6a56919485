"""Checks what a Keras file builds, before it is loaded: only layers of Keras and functions that compute.

Keras builds a model from names in its file. Among them may be layers that are code, layers that read files, and in
files of tf_keras any function of TensorFlow's API and any class of an installed module.
"""

from collections.abc import Iterator
from typing import Any

from must_tf.errors import UserError

_CODE = "which is code; save the model without it"
_REFUSED = {
    "Lambda": _CODE,
    "__lambda__": _CODE,
    "TorchModuleWrapper": _CODE,
    "JaxLayer": _CODE,
    "FlaxLayer": _CODE,
    "ClassMethod": _CODE,
    "InstanceMethod": _CODE,
    "InstanceProperty": _CODE,
    "TFSMLayer": "which runs a SavedModel of another place; use that one, as savedmodel:PATH",
    "KerasLayer": "which runs a SavedModel of another place; use that one, as savedmodel:PATH",
}
_PACKAGES = ("builtins", "keras", "tf_keras", "keras_hub", "keras_cv", "keras_nlp")
# Of tensorflow.python.ops: what nothing but computes.
_COMPUTE = {
    *("array_ops", "array_ops_stack", "bincount_ops", "check_ops", "clip_ops", "confusion_matrix", "ctc_ops"),
    *("histogram_ops", "image_ops_impl", "linalg_ops", "math_ops", "nn_impl", "nn_ops", "random_crop_ops"),
    *("random_ops", "sort_ops", "sparse_ops", "special_math_ops", "stateless_random_ops", "string_ops"),
    *("tensor_getitem_override", "embedding_ops", "manip_ops", "sets_impl", "control_flow_assert", "numerics"),
    *("gen_array_ops", "gen_bitwise_ops", "gen_image_ops", "gen_linalg_ops", "gen_math_ops", "gen_nn_ops"),
    *("gen_special_math_ops", "gen_spectral_ops", "gen_string_ops", "gen_manip_ops"),
    *("linalg.linalg_impl", "numpy_ops.np_array_ops", "numpy_ops.np_math_ops", "signal.dct_ops", "signal.fft_ops"),
    *("signal.shape_ops", "signal.spectral_ops", "signal.window_ops", "signal.reconstruction_ops"),
}
_READS = ("ImmutableConst", "immutable_const")  # stands in gen_array_ops, and maps a file into memory


def check_config(where: str, config: Any) -> None:
    """Checks the configuration of a Keras model.

    Args:
      where: `keras:PATH`, for messages.
      config: its JSON.

    Raises:
      UserError: it names a layer that is code or that reads files, or a function that does more than compute.
    """
    for one in _objects(config):
        kind, inner = str(one["class_name"]), one.get("config")
        inner = inner if isinstance(inner, dict) else {}
        if kind in _REFUSED:
            raise UserError(f"{where}: holds a {kind.removesuffix('Layer')} layer, {_REFUSED[kind]}")
        if not _is_known_module(one.get("module")):
            raise UserError(
                f"{where}: needs {kind!r} of the module {one['module']!r}, which is not Keras's; save the model with "
                "layers of Keras alone, or export it as a SavedModel"
            )
        if isinstance(inner.get("vocabulary"), str):
            raise UserError(f"{where}: its {kind} layer reads the file {inner['vocabulary']!r}; save it with the words")
        if kind in ("TFOpLambda", "SlicingOpLambda") and not _computes(inner.get("function")):
            raise UserError(
                f"{where}: calls tf.{inner.get('function')}, of which it is not known that it only computes; save the "
                "model without it, or export it as a SavedModel"
            )
        if kind == "TensorFlowOpLayer" and not _is_trusted_node(inner.get("node_def")):
            raise UserError(f"{where}: holds a TensorFlow op that may do more than compute; export it as a SavedModel")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yields each object of a configuration that names a class."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "class_name" in one:
                yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _is_known_module(module: Any) -> bool:
    if not module:
        return True
    name = str(module)
    return name.partition(".")[0] in _PACKAGES or name.removeprefix("tensorflow.python.ops.") in _COMPUTE


def _computes(name: Any) -> bool:
    """Whether a name of TensorFlow's API is that of a function in a module of those that compute."""
    from tensorflow.python.util import tf_decorator, tf_export

    if not isinstance(name, str) or name.rpartition(".")[2] in _READS:
        return False
    function = tf_export.get_symbol_from_name(name)
    if function is None or isinstance(function, type):
        return False
    module = str(getattr(tf_decorator.unwrap(function)[1], "__module__", ""))
    return module.removeprefix("tensorflow.python.ops.") in _COMPUTE


def _is_trusted_node(definition: Any) -> bool:
    """Whether a serialized NodeDef, or one as JSON, is of an op that only computes and that calls no function."""
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import node_def_pb2

    from must_tf.teachers.trusted_ops import TRUSTED

    try:
        if isinstance(definition, str):
            node = node_def_pb2.NodeDef.FromString(definition.encode())
        else:
            node = json_format.ParseDict(definition, node_def_pb2.NodeDef())
    except (DecodeError, json_format.ParseError, TypeError, AttributeError):
        return False
    return node.op in TRUSTED and not any(value.HasField("func") or value.list.func for value in node.attr.values())
