"""Reads Qt's binary resource archives (`.rcc`), as `rcc --binary` writes them.

The header is `qres`, the version, and the offsets of the tree, of the data and of the names, all big-endian. A node of
the tree has 14 bytes; from version 2 on it has 22, because a time stamp is added. A folder's node has the number of its
children and the index of the first. A file's node points into the data: a length, and the payload, raw or compressed
with zlib.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from must_tf.errors import UserError

_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4
_NODE_BYTES = {1: 14, 2: 22, 3: 22}


def read_rcc(path: str | os.PathLike) -> Iterator[tuple[str, bytes]]:
    """Yields the files of an archive: path inside it, and bytes.

    Raises:
      UserError: the file is not such an archive, is damaged, or has an unknown version or compression.
    """
    data = Path(path).read_bytes()
    if data[:4] != b"qres":
        raise UserError(f"{path}: begins with {data[:4]!r}, expected a Qt resource archive, which begins with b'qres'")
    try:
        version, tree, payloads, names = struct.unpack_from(">IIII", data, 4)
        if version not in _NODE_BYTES:
            raise UserError(f"{path}: format version {version} received, expected 1, 2 or 3")
        yield from _Archive(path, data, version, tree, payloads, names).walk(0, "", 0)
    except (struct.error, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged: {error}; fetch it again") from None


class _Archive:
    def __init__(self, path: str | os.PathLike, data: bytes, version: int, tree: int, payloads: int, names: int):
        self.path, self.data = path, data
        self.tree, self.payloads, self.names = tree, payloads, names
        self.node_bytes = _NODE_BYTES[version]

    def walk(self, index: int, parent: str, depth: int) -> Iterator[tuple[str, bytes]]:
        """Yields the files at and under a node."""
        if depth > 64:
            raise UserError(f"{self.path}: damaged: folders are nested more than 64 deep; fetch it again")
        at = self.tree + index * self.node_bytes
        name, flags = struct.unpack_from(">IH", self.data, at)
        path = f"{parent}/{self._name(name)}".lstrip("/") if index else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", self.data, at + 6)
            for child in range(first, first + count):
                yield from self.walk(child, path, depth + 1)
        else:
            (offset,) = struct.unpack_from(">I", self.data, at + 10)  # after country and language
            yield path, self._payload(path, flags, self.payloads + offset)

    def _name(self, offset: int) -> str:
        (length,) = struct.unpack_from(">H", self.data, self.names + offset)
        start = self.names + offset + 6  # after length and hash
        return self.data[start : start + 2 * length].decode("utf-16-be")

    def _payload(self, path: str, flags: int, at: int) -> bytes:
        (length,) = struct.unpack_from(">I", self.data, at)
        payload = self.data[at + 4 : at + 4 + length]
        if len(payload) < length:
            raise UserError(f"{self.path}: damaged: {path} is cut short; fetch it again")
        if flags & _ZSTD:
            raise UserError(f"{self.path}: {path} is compressed with zstd, expected zlib or no compression")
        if not flags & _COMPRESSED:
            return payload
        (size,) = struct.unpack_from(">I", payload)
        unpacked = zlib.decompress(payload[4:])
        if len(unpacked) != size:
            raise UserError(f"{self.path}: damaged: {path} has {len(unpacked)} bytes of {size}; fetch it again")
        return unpacked
