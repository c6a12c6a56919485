"""Reads the tensors of a PyTorch file of the old kind (before 1.6) without PyTorch, and runs nothing that it holds.

The file is a row of pickles (magic number, protocol, system, a dict of tensors, keys of storages), then the storages:
a count and the raw numbers of each. A tensor is a view of a storage: offset, sizes and strides.
"""

import os
import pickle
import struct
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np

from must_tf.errors import UserError

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
    """A view that waits for its storage."""

    def __init__(self, storage: Any, offset: int, size: tuple[int, ...], strides: tuple[int, ...], *_: Any):
        self.storage, self.offset, self.size, self.strides = storage, offset, size, strides

    def read(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        """Returns a copy of its values, cut out of the storages by name."""
        values = storages[self.storage[0]]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.strides, strict=True))
        fits = len(self.size) == 0 or min(self.size) > 0
        if min((self.offset, *self.strides, *self.size)) < 0 or (fits and last >= len(values)):
            raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
        steps = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, steps).copy()


class _Unpickler(pickle.Unpickler):
    """Knows what a dict of tensors is made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a name in the file stands for; raises for all that is no part of a tensor."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of a tensor")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        """Returns name, type and length of a storage."""
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and pid[5] is None):
            raise pickle.UnpicklingError(f"a reference of an unknown kind: {str(pid)[:80]}")
        return str(pid[2]), pid[1], pid[4]


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name.

    Raises:
      UserError: another kind of file, a damaged one, or one that wants anything but tensors to be made.
    """
    storages: dict[str, tuple[str, str, int]] = {}

    class Unpickler(_Unpickler):
        def persistent_load(self, pid: Any) -> tuple[str, str, int]:
            """Also remembers the storage, which lies further on in the file."""
            storage = super().persistent_load(pid)
            storages[storage[0]] = storage
            return storage

    try:
        with open(path, "rb") as file:
            if _Unpickler(file).load() != _MAGIC:
                raise pickle.UnpicklingError("no magic number of PyTorch at its start")
            for _ in ("protocol", "system"):
                _Unpickler(file).load()
            state = Unpickler(file).load()
            keys = _Unpickler(file).load()
            values = {key: _storage(file, storages[key]) for key in keys}
            return {name: tensor.read(values) for name, tensor in state.items() if isinstance(tensor, _Tensor)}
    except (pickle.UnpicklingError, EOFError, KeyError, AttributeError, TypeError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not read: {reason}; expected a PyTorch state dict of the old format") from error


def _storage(file: BinaryIO, storage: tuple[str, str, int]) -> np.ndarray:
    _, dtype, count = storage
    (stored,) = struct.unpack("<q", file.read(8))
    if stored != count:
        raise pickle.UnpicklingError(f"a storage of {stored} numbers, expected {count}")
    data = file.read(count * np.dtype(dtype).itemsize)
    return np.frombuffer(data, dtype, count)
