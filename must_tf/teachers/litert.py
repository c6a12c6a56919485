"""LiteRT (TensorFlow Lite) models as teachers, `litert:FILE`, run by ai-edge-litert (extra `litert`)."""

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from must_tf.errors import UserError, one_line
from must_tf.tasks.reader import Slot
from must_tf.teachers.model import Model, optional, require_file
from must_tf.teachers.postprocess import facts_of_boxes


class LiteRtModel(Model):
    """A `.tflite` model; inputs are quantized and outputs dequantized if the model requires it."""

    format = "litert"
    packages = ("ai-edge-litert",)
    takes_several = True

    def __init__(self, path: str):
        require_file(f"litert:{path}", path)
        litert = optional("ai_edge_litert.interpreter", "litert")
        self.path = path
        self._lock = threading.Lock()  # an interpreter has one set of tensors and releases the GIL
        try:
            self._interpreter = litert.Interpreter(path, num_threads=os.cpu_count())
            self._names = _names(self._interpreter)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:  # not a model, or ops that LiteRT lacks
            raise UserError(f"litert:{path}: LiteRT cannot load it: {one_line(error)}") from error
        self.inputs = tuple(_slot(detail) for detail in self._interpreter.get_input_details())
        details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.facts = facts_of_boxes(self._interpreter, self._names)
        self.pixel_range = _pixel_range(details[0][0])
        self.quantized = self.pixel_range is not None
        if len(details[1]) == 1 and _is_probability(details[1][0]):
            self.known = {"activation": "probabilities"}

    def outputs(self) -> tuple[Slot, ...]:
        """Returns the outputs of the graph as `predict` gives them, named by its signature if it has one."""
        details = self._interpreter.get_output_details()
        slots = [_slot(detail, self._names[detail["index"]]) for detail in details]
        return tuple(
            slot._replace(dtype="float32") if _quantization(detail)[0] else slot
            for slot, detail in zip(slots, details, strict=True)
        )

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the graph, after resizing its input if the batch has another shape."""
        return self.predict_all({self.inputs[0].name: images})

    def predict_all(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the graph on all inputs."""
        with self._lock:
            return self._run(arrays)

    def _run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        other = {name: array for name, array in arrays.items() if list(inputs[name]["shape"]) != list(array.shape)}
        for name, array in other.items():
            self._interpreter.resize_tensor_input(inputs[name]["index"], array.shape)
        if other:
            self._interpreter.allocate_tensors()
        for name, array in arrays.items():
            self._interpreter.set_tensor(inputs[name]["index"], _quantize(array, inputs[name]))
        self._interpreter.invoke()
        details = self._interpreter.get_output_details()
        return {self._names[d["index"]]: _dequantize(self._interpreter.get_tensor(d["index"]), d) for d in details}


def _names(interpreter: Any) -> dict[int, str]:
    """Returns the names of the outputs by index; a signature has the names that the author chose."""
    names = {detail["index"]: detail["name"] for detail in interpreter.get_output_details()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        # The runner must be released: the interpreter does not run while it exists.
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        names |= {detail["index"]: name for name, detail in runner.get_output_details().items()}
    return names


def _slot(detail: dict[str, Any], name: str | None = None) -> Slot:
    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    shape = tuple(None if size < 0 else int(size) for size in sizes)
    return Slot(name or detail["name"], shape, np.dtype(detail["dtype"]).name)


def _quantization(detail: dict[str, Any]) -> tuple[float, int]:
    """Returns scale and zero point; a scale of 0 means no quantization."""
    return detail["quantization"]


def _pixel_range(detail: dict[str, Any]) -> tuple[float, float] | None:
    """Returns what the least and the largest value of a quantized input mean; None if it is not quantized."""
    scale, zero = _quantization(detail)
    if scale == 0:
        return None
    limits = np.iinfo(np.dtype(detail["dtype"]))
    return float((limits.min - zero) * scale), float((limits.max - zero) * scale)


def _is_probability(detail: dict[str, Any]) -> bool:
    """Whether an output has the quantization of LiteRT's softmax and sigmoid: 8 bits, from 0 in steps of 1/256."""
    scale, zero = _quantization(detail)
    dtype = np.dtype(detail["dtype"])
    return scale == 1 / 256 and dtype.itemsize == 1 and zero == np.iinfo(dtype).min


def _quantize(images: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Converts images to the type of the input: floats are quantized, pixels keep their values."""
    scale, zero = _quantization(detail)
    dtype = np.dtype(detail["dtype"])
    if scale == 0 or images.dtype == dtype:
        return images.astype(dtype, copy=False)
    if images.dtype == np.uint8:  # the input is int8
        return (images.astype(np.int16) - 128).astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(images / scale + zero), limits.min, limits.max).astype(dtype)


def _dequantize(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    scale, zero = _quantization(detail)
    return values if scale == 0 else ((values.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)
