import struct
import zlib

import pytest

from must_tf.errors import UserError
from must_tf.experiments.photos.rcc import read_rcc

FILES = {"images/one.webp": b"first" * 50, "images/two.txt": b"", "README": "ünïcode".encode()}


def archive(files, version=3, compressed=(), flags=0):
    """Returns an archive as Qt's rcc builds it, with the nodes of a folder's children next to each other."""
    names, payloads, nodes = b"", b"", []

    def name(text):
        nonlocal names
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return len(names) - 6 - 2 * len(text)

    def payload(path, data):
        nonlocal payloads
        start = len(payloads)
        stored = struct.pack(">I", len(data)) + zlib.compress(data) if path in compressed else data
        payloads += struct.pack(">I", len(stored)) + stored
        return start

    def tree(paths):
        folders: dict = {}
        for path in paths:
            at = folders
            *parents, leaf = path.split("/")
            for parent in parents:
                at = at.setdefault(parent, {})
            at[leaf] = path
        return folders

    queue = [(None, tree(files))]  # breadth first, so that children are neighbors
    while queue:
        text, node = queue.pop(0)
        offset = 0 if text is None else name(text)
        if isinstance(node, dict):
            nodes.append([offset, 2, len(node), len(nodes) + len(queue) + 1])
            queue += list(node.items())
        else:
            nodes.append([offset, flags | (node in compressed), None, payload(node, files[node])])
    stamp = b"\0" * 8 if version > 1 else b""
    packed = b""
    for offset, flag, count, last in nodes:
        middle = struct.pack(">II", count, last) if count is not None else struct.pack(">HHI", 0, 0, last)
        packed += struct.pack(">IH", offset, flag) + middle + stamp
    header = 24 if version > 2 else 20
    offsets = (header, header + len(packed), header + len(packed) + len(payloads))
    return b"qres" + struct.pack(">IIII", version, *offsets) + b"\0" * (header - 20) + packed + payloads + names


def read(tmp_path, data):
    (tmp_path / "x.rcc").write_bytes(data)
    return dict(read_rcc(tmp_path / "x.rcc"))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_raw_and_compressed_files_are_read_by_their_paths(tmp_path, version):
    assert read(tmp_path, archive(FILES, version, compressed=["images/one.webp"])) == FILES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04 no archive of Qt", "b'qres'"),
        (archive(FILES)[:40], "damaged"),
        (archive(FILES, compressed=FILES).replace(zlib.compress(b"first" * 50), b"x" * 22), "damaged"),
        (b"qres" + struct.pack(">IIII", 9, 0, 0, 0), "version 9"),
        (archive(FILES, flags=4), "zstd"),
    ],
)
def test_unreadable_archive_is_an_error_of_one_line_with_the_file(tmp_path, data, message):
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, data)
    assert "x.rcc" in str(error.value) and "\n" not in str(error.value)


def test_endlessly_nested_folders_are_refused(tmp_path):
    loop = struct.pack(">IHII", 0, 2, 1, 0) + b"\0" * 8  # the root's only child is the root
    with pytest.raises(UserError, match="folders are nested more than 64 deep"):
        read(
            tmp_path,
            b"qres" + struct.pack(">IIII", 3, 24, 24 + len(loop), 24 + len(loop)) + b"\0" * 4 + loop + b"\0" * 8,
        )
