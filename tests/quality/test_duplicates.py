import io
import re

import numpy as np
import pytest
import toy
from PIL import Image, ImageEnhance, ImageOps

from must_tf.errors import UserError
from must_tf.quality import duplicates, leaks
from must_tf.records import Record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import WORLDS

ROOMS = 20


def record(image, name, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return Record(buffer.getvalue(), form, image.height, image.width, f"{name:0>16}"[-16:], filename=name)


@pytest.fixture(scope="module")
def rooms():
    return [Image.fromarray(np.asarray(render(WORLDS["unlabeled"], 0, index, 160).image)) for index in range(ROOMS)]


def changed(image):
    """Yields how an image was changed, and the record of the changed one."""
    width, height = image.size
    yield record(image, "compressed.jpg", "JPEG", quality=40)
    yield record(image.resize((width // 2, height // 2)), "half.png")
    yield record(image.resize((2 * width, 2 * height)), "double.jpg", "JPEG", quality=80)
    yield record(ImageEnhance.Brightness(image).enhance(1.1), "brighter.png")
    yield record(ImageEnhance.Contrast(image).enhance(0.9), "paler.png")
    yield record(image.crop((1, 1, width - 1, height - 1)), "cropped.png")
    yield record(ImageOps.mirror(image), "mirrored.jpg", "JPEG", quality=60)


@pytest.fixture(scope="module")
def data(rooms, tmp_path_factory):
    """Rooms; a copy of a file, changed copies of five rooms, and two flat images."""
    folder = tmp_path_factory.mktemp("duplicates")
    train = [record(room, f"room{index}.png") for index, room in enumerate(rooms)]
    flat = [record(Image.new("RGB", (40, 30), (v, v, v)), f"flat{v}.png") for v in (100, 200)]
    test = [one for room in rooms[::4] for one in changed(room)]
    for index, one in enumerate(test):
        one.id, one.filename = f"{index:016}", f"{4 * (index // 7)}-{one.filename}"
    copy = record(rooms[3], "room3.png")
    copy.filename = "copy.png"
    toy.write_dataset(folder / "train", train + flat, [toy.SCENE], 2)
    toy.write_dataset(folder / "test", [*test, copy, *flat], [toy.SCENE], 1)
    toy.write_dataset(folder / "sound", train[1::2][:5], [toy.SCENE], 1)
    toy.write_dataset(folder / "rest", train[::2][:5], [toy.SCENE], 1)
    return folder


def test_changed_and_mirrored_copies_are_leaks(data):
    found = leaks(data / "train", data / "test")
    pairs = {pair.image: pair for pair in found.pairs}
    assert found.images == 5 * 7 + 3 and found.flat == 4
    right = [name for name, pair in pairs.items() if pair.earlier == f"room{name.partition('-')[0]}.png"]
    assert len(right) == 5 * 7
    assert all((pairs[name].kind == "mirrored") == name.endswith("mirrored.jpg") for name in right)
    assert (pairs["copy.png"].earlier, pairs["copy.png"].kind) == ("room3.png", "same file")
    assert {name for name in pairs if "flat" in name} == {"flat100.png", "flat200.png"}  # by their bytes
    assert len(pairs) == 5 * 7 + 3


def test_different_rooms_are_no_duplicates(data):
    assert not duplicates(data / "train").pairs
    assert not leaks(data / "rest", data / "sound").pairs


def test_image_that_cannot_be_decoded_is_one_line(rooms, tmp_path):
    broken = record(rooms[0], "broken.png")
    broken.encoded = broken.encoded[:60]
    toy.write_dataset(tmp_path / "data", [record(rooms[1], "a.png"), broken], [], 1)
    with pytest.raises(UserError, match=r"broken\.png: its image cannot be decoded"):
        duplicates(tmp_path / "data")


def test_each_duplicate_is_told_once_with_the_nearest_before(data):
    found = duplicates(data / "test")
    assert found.images == 38 and len(found.pairs) == 5 * 6
    for pair in found.pairs:
        assert re.match(r"\d+-", pair.image)[0] == re.match(r"\d+-", pair.earlier)[0] and pair.image != pair.earlier
