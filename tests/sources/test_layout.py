"""Slices of a layout in TFDS's syntax: reproducible, disjoint, and samples of the whole."""

import pickle

import layouts
import pytest

from must_tf.errors import UserError
from must_tf.sources import open_source

CLASSES, EACH = ("ant", "bee", "cat"), 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout") / "photos"
    for number, name in enumerate(CLASSES):
        for i in range(EACH):
            layouts.write_jpeg(folder / "train" / name / f"{name}_{i}.jpg", 8, 8, EACH * number + i)
    return f"classes:{folder}/train"


def names(where, images_per_shard=7):
    source = open_source(where, images_per_shard)
    entries = [entry for shard in pickle.loads(pickle.dumps(source)).shards for entry in shard()]
    assert len(entries) == source.count
    return [entry.name for entry in entries]


@pytest.mark.parametrize("cut", ["90%", "80%", "25", "-6", "-10%"])
def test_two_complementary_slices_make_up_the_whole_and_share_nothing(photos, cut):
    first, second = names(f"{photos}[:{cut}]"), names(f"{photos}[{cut}:]")
    assert len(first) == {"90%": 27, "80%": 24, "25": 25, "-6": 24, "-10%": 27}[cut]
    assert sorted(first + second) == sorted(names(photos)) and not set(first) & set(second)
    assert set(names(f"{photos}[{cut}:]", 2)) == set(second)


def test_slice_has_images_of_every_class_in_every_shard(photos):
    source = open_source(f"{photos}[:80%]", images_per_shard=8)
    assert len(source.shards) == 3 and source.tasks[0].class_names == CLASSES
    for shard in source.shards:
        entries = list(shard())
        assert {CLASSES[entry.labels["photos"]] for entry in entries} == set(CLASSES) and len(entries) == 8
        assert all(CLASSES[entry.labels["photos"]] in entry.name for entry in entries)


def test_listing_depends_on_the_images_of_the_slice(photos):
    slices = ("", "[:90%]", "[90%:]", "[:27]", "[:50%]")
    listings = [open_source(photos + slice_).listing for slice_ in slices]
    assert len(set(listings)) == 4 and listings[1] == listings[3]


@pytest.mark.parametrize("wrong", ["[5:5]", "[:31]", "[-31:]", "[200%:]"])
def test_empty_slice_and_slice_beyond_the_images_are_refused(photos, wrong):
    with pytest.raises(UserError, match="not a slice of 30 images; expected one such as"):
        open_source(photos + wrong)
