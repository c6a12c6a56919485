"""`onnx:FILE`: an ONNX model, run by onnxruntime (extra `onnx`)."""

import hashlib
from pathlib import Path

import numpy as np

from must_tf import files
from must_tf.errors import UserError
from must_tf.teachers.model import Model, Slot, optional, require_file

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxModel(Model):
    """An ONNX model; on a GPU where onnxruntime has one."""

    format = "onnx"
    packages = ("onnxruntime",)

    def __init__(self, path: str):
        require_file(f"onnx:{path}", path)
        runtime = optional("onnxruntime", "onnx")
        self.path = path
        providers = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
        try:
            self._session = runtime.InferenceSession(path, providers=providers)
        except Exception as error:  # onnxruntime's own errors have no common base but this
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"onnx:{path}: onnxruntime {runtime.__version__} cannot load it: {reason}") from error
        self.inputs = tuple(_slot(value) for value in self._session.get_inputs())

    def outputs(self) -> tuple[Slot, ...]:
        """Returns what the graph gives."""
        return tuple(_slot(value) for value in self._session.get_outputs())

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the graph."""
        names = [value.name for value in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {self.inputs[0].name: images}), strict=True))

    def sha256(self) -> str:
        """Returns the digest of the file; where weights lie in a file beside it, that of both digests."""
        parts = [part for part in (self.path, f"{self.path}.data", f"{self.path}_data") if Path(part).is_file()]
        digests = [files.sha256(part) for part in parts]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _slot(value) -> Slot:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape)
    return Slot(value.name, shape, _DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")")))
