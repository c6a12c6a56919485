"""A device for PyTorch that holds tensors apart from the CPU's, as a GPU does, where there is no GPU.

Its tensors compute what the CPU computes. An operation on tensors of both raises, and so does reading one as an array.
"""

import functools
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")

from torch.utils import backend_registration  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402

DEVICE = "far:0"
_MOVES = ("aten::_to_copy", "aten::copy_")
_INDEXED = ("aten::index", "aten::index_put_")  # also by indices of the CPU


class Far(torch.Tensor):
    """A tensor on the device; `near` holds its values."""

    @staticmethod
    def __new__(cls, near):
        place = {"strides": near.stride(), "storage_offset": near.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(
            cls, near.size(), **place, dtype=near.dtype, device=DEVICE, requires_grad=near.requires_grad
        )

    def __init__(self, near):
        self.near = near

    def tolist(self):
        """Returns the values, which GPUs copy."""
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Also runs what makes tensors, and what moves those of the CPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    name = func._schema.name
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    far = [value for value in tensors if isinstance(value, Far)]
    together = tree_leaves((args[:1], args[2:])) if name in _INDEXED else tensors
    left = [value for value in together if isinstance(value, torch.Tensor) and not isinstance(value, Far)]
    left = [value for value in left if value.dim()]  # a number may come from anywhere
    if far and left and name not in _MOVES:
        raise RuntimeError(f"{name}: expected all tensors on one device, found {DEVICE} and cpu {list(left[0].shape)}")
    device = kwargs.get("device")
    there = bool(far) if device is None else torch.device(device).type == torch.device(DEVICE).type
    near = {key: tree_map(_near, value) for key, value in kwargs.items()} | ({"device": "cpu"} if device else {})
    found = func(*tree_map(_near, args), **near)
    if name == "aten::copy_":
        return args[0]
    known = {id(value.near): value for value in far}  # an operation in place gives back what it was given
    return tree_map(lambda value: _far(value, known), found) if there else found


def _near(value):
    return value.near if isinstance(value, Far) else value


def _far(value, known):
    if not isinstance(value, torch.Tensor):
        return value
    return known[id(value)] if id(value) in known else Far(value)


class _Hook(backend_registration._DummyPrivateUse1Hook):
    def is_available(self):
        return False  # to nobody who does not name it


class _Module(backend_registration._DummyBackendModule):
    def is_available(self):
        return False

    def get_amp_supported_dtype(self):
        return [torch.float16]


@functools.cache
def _register():
    """Names the device, and gives it the hooks that PyTorch asks a device for; this cannot be undone."""
    name = DEVICE.partition(":")[0]
    backend_registration._setup_privateuseone_for_python_backend(name, _Module(), _Hook())


@contextmanager
def pretend_gpu(monkeypatch):
    """Has models of PyTorch run on the device as long as the context lasts."""
    from must_tf.runtime import pytorch

    _register()
    flags = torch.__future__
    before = torch._C._only_lift_cpu_tensors(), flags.get_overwrite_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=DEVICE) then is a move
    flags.set_overwrite_module_params_on_conversion(True)  # parameters of a class of their own cannot be set in place
    try:
        with monkeypatch.context() as patch, _Everywhere():
            patch.setattr(pytorch, "device", lambda: DEVICE)
            patch.setattr(torch, "inference_mode", torch.no_grad)  # tensors of inference cannot be wrapped
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before[0])
        flags.set_overwrite_module_params_on_conversion(before[1])
