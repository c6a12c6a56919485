"""Fuzzes images and records: damage leads to a quarantine or a problem of one line, never to a crash."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
from damage import damaged
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record, open_dataset, verify
from must_tf.sources import open_source
from must_tf.sources.images import read_image

pytestmark = pytest.mark.slow

UNSHRUNK = (Phase.generate,)  # no shrinking, because a verification takes too long

PICTURE = Image.fromarray(toy.random_image(np.random.default_rng(0), 24, 40))
TURNED = Image.Exif()
TURNED[0x0112] = 6


def encoded(image, kind, **arguments):
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **arguments)
    return buffer.getvalue()


def dark():
    return Image.new("RGB", PICTURE.size)


FILES = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "progressive jpeg": encoded(PICTURE, "JPEG", progressive=True),
    "gray jpeg": encoded(PICTURE.convert("L"), "JPEG"),
    "turned jpeg": encoded(PICTURE, "JPEG", exif=TURNED),
    "cmyk jpeg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "multi-picture jpeg": encoded(PICTURE, "MPO", save_all=True, append_images=[dark()]),
    "png": encoded(PICTURE, "PNG"),
    "palette png": encoded(PICTURE.quantize(8), "PNG", transparency=b"\0\xff\0"),
    "16-bit png": encoded(Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 60), "PNG"),
    "animated png": encoded(PICTURE, "PNG", save_all=True, append_images=[dark()]),
    "turned png": encoded(PICTURE, "PNG", exif=TURNED),
    "gif": encoded(PICTURE.quantize(8), "GIF", save_all=True, append_images=[dark()]),
    "lossy webp": encoded(PICTURE, "WEBP"),
    "animated webp": encoded(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[dark()]),
    "bmp": encoded(PICTURE, "BMP"),
    "tiff": encoded(PICTURE, "TIFF"),
    "packed tiff": encoded(PICTURE, "TIFF", compression="tiff_lzw", exif=TURNED),
    "float tiff": encoded(PICTURE.convert("F"), "TIFF"),
}


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=500)
@given(data=st.data())
def test_damaged_image_becomes_a_record_that_decodes_or_is_quarantined(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data.draw(damaged(FILES[name])))
    entry = read_image(path, max_pixels=1_000_000)
    assert entry == read_image(path, max_pixels=1_000_000)
    if isinstance(entry, Quarantined):
        assert entry.name == str(path) and entry.reason and "\n" not in entry.reason
        assert not re.search(r"\b0x[0-9a-f]{6}", entry.reason), "an address differs in each run"
    else:
        image = tf.io.decode_image(entry.encoded, channels=3, expand_animations=False)
        assert image.shape == (entry.height, entry.width, 3)


@settings(max_examples=200)
@given(content=st.binary(max_size=200), magic=st.sampled_from(sorted({file[:12] for file in FILES.values()})))
def test_noise_after_any_magic_is_quarantined(tmp_path_factory, content, magic):
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(magic + content)
    assert isinstance(read_image(path, max_pixels=1_000_000), Quarantined)


# Records


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Returns the folder, the shard and the shard's bytes of a dataset of one shard with a few records of all kinds."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    toy.write_dataset(folder, toy.toy_records(6)[2:], num_shards=1)
    path = Path(open_dataset(folder).paths[0])
    return folder, path, path.read_bytes()


def set_shard_bytes(folder, size):
    """Sets the size of the only shard in the manifest."""
    (entry,) = json.loads((folder / "manifest.json").read_text())["shards"]
    toy.change_manifest(folder, shards=[{**entry, "bytes": size}])


def read_whole(folder, path):
    """Reads a dataset by all of its readers, after its manifest got the size on disk."""
    set_shard_bytes(folder, path.stat().st_size)
    findings = verify(open_dataset(folder))
    assert findings.problems and all("\n" not in problem for problem in findings.problems)
    for part in open_source(folder).shards:
        assert all(isinstance(entry, (Record, Quarantined)) for entry in part())


@settings(max_examples=30, phases=UNSHRUNK)
@given(data=st.data())
def test_damaged_shard_gives_problems(shard, data):
    folder, path, content = shard
    new = data.draw(damaged(content).filter(lambda new: new != content))
    path.write_bytes(new)
    if len(new) != len(content) and data.draw(st.booleans()):
        set_shard_bytes(folder, len(content))
        with pytest.raises(UserError, match=path.name):
            open_dataset(folder)
    read_whole(folder, path)


@settings(max_examples=25, phases=UNSHRUNK)
@given(data=st.data())
def test_damage_under_sound_checksums_gives_problems(shard, data):
    folder, path, content = shard
    path.write_bytes(content)
    frames = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for frame in 4 * frames:  # several records per verification, which is slower than a record
            writer.write(data.draw(damaged(frame)))
    read_whole(folder, path)
