"""PyTorch models as teachers, `torch:FILE` (extra `hf`): `.pt2` files of torch.export, and TorchScript."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError, one_line
from must_tf.runtime import pytorch
from must_tf.tasks.reader import Slot
from must_tf.teachers import pt2
from must_tf.teachers.card import Card
from must_tf.teachers.model import Model, optional, require_file
from must_tf.teachers.spec import TeacherSpec

_PROBE = (224, 224)  # height and width at which a TorchScript model is asked for its outputs, if no card gives them


class TorchModel(Model):
    """A PyTorch model of one input; it runs on a GPU if PyTorch has one. Its outputs are a tensor, or several.

    A `.pt2` file is loaded if `pt2.check` finds that it only computes. Any other file is TorchScript, which cannot
    be checked: a line says so.

    Args:
      path: the file.
      probe: height and width at which a TorchScript model is asked for its outputs.
      allow_ops: names of operators that a `.pt2` file may use beside the trusted ones.
    """

    format = "torch"
    packages = ("torch",)

    def __init__(self, path: str, probe: tuple[int, int] = _PROBE, allow_ops: Sequence[str] = ()):
        require_file(f"torch:{path}", path)
        self._torch = optional("torch", "hf")
        self.path, self._probe = path, probe
        self._outputs: tuple[Slot, ...] | None = None
        self._device = pytorch.device()
        try:
            self._open_program(allow_ops) if Path(path).suffix == ".pt2" else self._open_script()
        except UserError:
            raise
        except Exception as error:  # PyTorch's errors have no other common base
            raise UserError(
                f"torch:{path}: PyTorch {self._torch.__version__} cannot load it: {one_line(error)}"
            ) from error

    @classmethod
    def open(cls, spec: TeacherSpec, card: Card | None) -> "TorchModel":
        """Opens a model; the card may give the size of its input."""
        return cls(spec.path, (card and card.input_size) or _PROBE, spec.allow_ops)

    def outputs(self) -> tuple[Slot, ...]:
        """Returns the outputs of the graph; those of TorchScript are found by a run on gray images."""
        if self._outputs is None:
            gray = np.full((2, 3, *self._probe), 0.5, np.float32)
            found = self.predict(gray)
            self._outputs = tuple(
                Slot(name, (None, *array.shape[1:]), str(array.dtype)) for name, array in found.items()
            )
        return self._outputs

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model."""
        with self._torch.inference_mode():
            found = self._run(self._torch.from_numpy(np.ascontiguousarray(images)).to(self._device))
        return {name: _array(tensor) for name, tensor in self._named(found).items()}

    def _open_program(self, allow_ops: Sequence[str]) -> None:
        from torch.export.passes import move_to_device_pass

        pt2.check(self.path, allow_ops)
        program = move_to_device_pass(self._torch.export.load(self.path), self._device)
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        signature = program.graph_signature
        self.inputs = tuple(_slot(name, values[name]) for name in signature.user_inputs)
        given = [values.get(name) for name in signature.user_outputs]
        structure = self._torch.utils._pytree.tree_unflatten(given, program.call_spec.out_spec)
        self._outputs = tuple(_slot(name, value) for name, value in self._named(structure).items())
        self._run = program.module(check_guards=False)  # guards are Python code of the file

    def _open_script(self) -> None:
        print(
            f"torch:{self.path}: TorchScript is deprecated by PyTorch, and a program that may read and write files: "
            "use it only if you trust where it comes from; torch.export.save makes a .pt2 file, which is checked"
        )
        self._run = self._torch.jit.load(self.path, map_location=self._device).eval()
        self.inputs = (Slot("images", (None, 3, None, None), "float32"),)

    def _named(self, found: Any) -> dict[str, Any]:
        """Returns the tensors of an output by name: by its keys, or numbered."""
        if isinstance(found, self._torch.Tensor):
            found = [found]
        if isinstance(found, Sequence):
            found = {f"output_{i}": part for i, part in enumerate(found)}
        if not isinstance(found, Mapping):
            raise UserError(f"torch:{self.path}: gives {type(found).__name__}; expected tensors, in a tuple or dict")
        tensors = {str(name): part for name, part in found.items() if isinstance(part, self._torch.Tensor)}
        if not tensors:
            raise UserError(f"torch:{self.path}: gives no tensor; expected one or more, in a tuple or dict")
        return tensors


def _slot(name: str, value: Any) -> Slot:
    sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Slot(name, sizes, str(value.dtype).removeprefix("torch."))


def _array(tensor: Any) -> np.ndarray:
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).cpu().numpy()
