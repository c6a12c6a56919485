"""Reads the tensors of a PyTorch file in the legacy format (before 1.6) without PyTorch and without running its code.

The file is a sequence of pickles (magic number, protocol, system, a dict of tensors, keys of storages). The storages
follow: the count and the raw numbers of each. A tensor is a view of a storage: offset, sizes and strides.
"""

import os
import pickle
import struct
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np

from must_tf.errors import UserError, one_line

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "u1",
}


class _Tensor:
    """A tensor whose storage has not been read yet."""

    def __init__(self, storage: Any, offset: int, size: tuple[int, ...], strides: tuple[int, ...], *_: Any):
        self.storage, self.offset, self.size, self.strides = storage, offset, size, strides

    def read(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        """Returns a copy of its values, given {key: values of the storage}."""
        values = storages[self.storage[0]]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.strides, strict=True))
        fits = len(self.size) == 0 or min(self.size) > 0
        if min((self.offset, *self.strides, *self.size)) < 0 or (fits and last >= len(values)):
            raise pickle.UnpicklingError("a tensor reaches beyond its storage")
        steps = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, steps).copy()


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the parts of a dict of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the class for a name in the file; raises for every name that is not part of a tensor."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not part of a tensor")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        """Returns name, type and length of a storage."""
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and pid[5] is None):
            raise pickle.UnpicklingError(f"unknown reference {str(pid)[:80]}")
        return str(pid[2]), pid[1], pid[4]


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name.

    Raises:
      UserError: the file has another format, is damaged, or would create anything but tensors.
    """
    storages: dict[str, tuple[str, str, int]] = {}

    class Unpickler(_Unpickler):
        def persistent_load(self, pid: Any) -> tuple[str, str, int]:
            """Also records the storage, which comes later in the file."""
            storage = super().persistent_load(pid)
            storages[storage[0]] = storage
            return storage

    try:
        with open(path, "rb") as file:
            if _Unpickler(file).load() != _MAGIC:
                raise pickle.UnpicklingError("it does not begin with PyTorch's magic number")
            for _ in ("protocol", "system"):
                _Unpickler(file).load()
            state = Unpickler(file).load()
            keys = _Unpickler(file).load()
            values = {key: _storage(file, storages[key]) for key in keys}
            return {name: tensor.read(values) for name, tensor in state.items() if isinstance(tensor, _Tensor)}
    except (pickle.UnpicklingError, EOFError, KeyError, AttributeError, TypeError, ValueError, struct.error) as error:
        raise UserError(
            f"{path}: cannot be read: {one_line(error)}; expected a PyTorch state dict in the legacy format"
        ) from error


def _storage(file: BinaryIO, storage: tuple[str, str, int]) -> np.ndarray:
    _, dtype, count = storage
    (stored,) = struct.unpack("<q", file.read(8))
    if stored != count:
        raise pickle.UnpicklingError(f"a storage of {stored} numbers, expected {count}")
    data = file.read(count * np.dtype(dtype).itemsize)
    return np.frombuffer(data, dtype, count)
