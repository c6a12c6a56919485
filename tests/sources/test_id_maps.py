"""Files of ids: what the file has is what is read, whatever the bits of a pixel."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from must_tf.sources.id_maps import read_ids


def gray_png(ids, bits):
    """Returns a gray PNG of few bits per pixel, as optimizers of PNGs write it; Pillow writes none."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = ids.shape
    planes = np.unpackbits(ids.astype(np.uint8)[..., np.newaxis], axis=-1)[..., 8 - bits :].reshape(height, -1)
    rows = np.packbits(planes, axis=-1)
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_ids_of_gray_are_not_spread_over_all_values(bits):
    """Spread, the ids 0 and 3 of two bits would be 0 and 255, which is ignored."""
    ids = np.random.default_rng(bits).integers(0, 2**bits, (5, 11))
    np.testing.assert_array_equal(read_ids(io.BytesIO(gray_png(ids, bits)), "a mask")[0], ids)


@pytest.mark.parametrize("suffix", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("bits", [2, 4])
def test_ids_of_palettes_are_their_indices(suffix, bits):
    ids = np.random.default_rng(bits).integers(0, 2**bits, (5, 11)).astype(np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putpalette([200, 10, 30] * 2**bits)
    buffer = io.BytesIO()
    image.save(buffer, suffix, bits=bits)
    np.testing.assert_array_equal(read_ids(io.BytesIO(buffer.getvalue()), "a mask")[0], ids)
