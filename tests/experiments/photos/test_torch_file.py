import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.experiments.photos.torch_file import read_tensors

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Opcodes:
    """Writes the pickle opcodes that PyTorch writes, because PyTorch is not installed here."""

    def __init__(self):
        self.data = b"\x80\x02"

    def name(self, module, name):
        self.data += f"c{module}\n{name}\n".encode()

    def value(self, value):
        self.data += pickle.dumps(value, 2)[2:-1]

    def tensor(self, storage, dtype, count, offset, size, strides):
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.data += b"((X\x07\x00\x00\x00storage"
        self.name("torch", dtype)
        self.value(storage)
        self.value("cpu")
        self.value(count)
        self.data += b"NtQ"
        for value in (offset, size, strides, False, OrderedDict()):
            self.value(value)
        self.data += b"tR"


def torch_file(path, tensors, storages):
    """Writes a state dict: {name: (storage, dtype, count, offset, size, strides)} and {storage: numbers}."""
    state = Opcodes()
    state.data += b"}("
    for name, arguments in tensors.items():
        state.value(name)
        state.tensor(*arguments)
    state.data += b"u."
    pickles = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, {"little_endian": True})]
    pickles += [state.data, pickle.dumps(list(storages), 2)]
    raw = [struct.pack("<q", len(values)) + values.tobytes() for values in storages.values()]
    path.write_bytes(b"".join([*pickles, *raw]))
    return path


def test_tensors_are_views_of_storages_with_offset_and_strides(tmp_path):
    values = np.arange(24, dtype="<f4")
    tensors = {
        "whole": ("1", "FloatStorage", 24, 0, (2, 3, 4), (12, 4, 1)),
        "channels_last": ("1", "FloatStorage", 24, 0, (4, 2, 3), (1, 12, 4)),
        "part": ("1", "FloatStorage", 24, 5, (2, 2), (4, 1)),
        "scalar": ("2", "LongStorage", 1, 0, (), ()),
    }
    path = torch_file(tmp_path / "x.pth", tensors, {"1": values, "2": np.array([7], "<i8")})
    found = read_tensors(path)
    whole = values.reshape(2, 3, 4)
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["channels_last"], whole.transpose(2, 0, 1))
    np.testing.assert_array_equal(found["part"], [[5, 6], [9, 10]])
    assert found["scalar"] == 7 and found["scalar"].dtype == np.int64


def test_tensor_beyond_its_storage_is_refused(tmp_path):
    tensors = {"x": ("1", "FloatStorage", 4, 2, (3,), (1,))}
    path = torch_file(tmp_path / "x.pth", tensors, {"1": np.zeros(4, "<f4")})
    with pytest.raises(UserError, match="beyond its storage"):
        read_tensors(path)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("place", range(5))
def test_hostile_pickle_runs_nothing_at_any_place(tmp_path, place):
    parts = [MAGIC, PROTOCOL, {}, {}, []]
    parts[place] = Hostile(tmp_path / "ran")
    (tmp_path / "x.pth").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(UserError, match=r"x\.pth.*not part of a tensor"):
        read_tensors(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", pickle.dumps(MAGIC, 2), pickle.dumps("other", 2)])
def test_file_of_another_format_is_refused_in_one_line(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(UserError, match=r"x\.pth: cannot be read") as error:
        read_tensors(tmp_path / "x.pth")
    assert "\n" not in str(error.value)
