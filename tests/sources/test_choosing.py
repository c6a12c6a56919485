"""Slices of every kind of source, by content: parts are disjoint, make up the whole, and stay when images are added."""

import itertools
import json
import pickle
import shutil
from fractions import Fraction

import layouts
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import LeftOut, Quarantined, Record
from must_tf.sources import open_source
from must_tf.sources.choosing import Others, chosen, place, split_slice

COUNT = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photographs, one of them damaged and one a copy, and other things that name or hold the same."""
    root = tmp_path_factory.mktemp("choosing")
    names = [f"{number}.jpg" for number in range(COUNT)]
    for number, name in enumerate(names):
        layouts.write_jpeg(root / "photos" / name, 8, 8, number)
    whole = (root / "photos/3.jpg").read_bytes()
    (root / "photos/3.jpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(root / "photos/5.jpg", root / "photos/copy.jpg")
    names.append("copy.jpg")
    (root / "list.txt").write_text("".join(f"{root}/photos/{name}\n" for name in names))
    (root / "labels.csv").write_text("file,class\n" + "".join(f"photos/{name},cat\n" for name in names))
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 3, 3]}
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    (root / "photos/labels.json").write_text(json.dumps(content))
    label(f"csv:{root}/labels.csv", (), root / "records", images_per_shard=7, max_bad=0.1)
    return root


SOURCES = ("photos", "photos/*.jpg", "list.txt", "csv:labels.csv", "coco:photos/labels.json", "records")


def read(where):
    """Returns ids or names of the images of a source, and its number of those that are left out."""
    source = open_source(where, 7)
    entries = [entry for shard in pickle.loads(pickle.dumps(source)).shards for entry in shard()]
    kept = [entry for entry in entries if not isinstance(entry, LeftOut)]
    assert len(entries) == source.count
    assert all(entry.seen is not None for entry in kept if isinstance(entry, Record))
    return [entry.id or entry.name for entry in kept], len(entries) - len(kept)


@pytest.mark.parametrize("name", SOURCES)
def test_parts_of_every_source_share_nothing_and_make_up_the_whole(photos, name, monkeypatch):
    monkeypatch.chdir(photos)
    whole, none = read(name)
    parts = [read(f"{name}{cut}") for cut in ("[:30%]", "[30%:-25.5%]", "[-25.5%:]")]
    assert none == 0 and sorted(one for kept, _ in parts for one in kept) == sorted(whole)
    assert not set(parts[0][0]) & set(parts[1][0]) | set(parts[1][0]) & set(parts[2][0])
    assert all(kept and len(kept) + left_out == len(whole) for kept, left_out in parts)
    assert set(read("photos[:30%]")[0]) >= set(parts[0][0])  # also the damaged one, where the source has it


def test_an_image_stays_in_its_part_when_others_come_and_go(photos, tmp_path):
    folder = shutil.copytree(photos / "photos", tmp_path / "photos")
    before = set(read(f"{folder}[:50%]")[0]), set(read(f"{folder}[50%:]")[0])
    for number in range(100, 120):
        layouts.write_jpeg(folder / "new" / f"{number}.jpg", 8, 8, number)
    (folder / "0.jpg").rename(folder / "renamed.jpg")
    after = set(read(f"{folder}[:50%]")[0]), set(read(f"{folder}[50%:]")[0])
    assert before[0] <= after[0] and before[1] <= after[1] and not after[0] & after[1]
    assert len(after[0] | after[1]) == COUNT + 20


def test_what_is_left_out_is_not_decoded(photos):
    looked = []
    source = open_source(f"{photos}/photos[:50%]")
    entries = [entry for shard in source.shards for entry in shard(look=lambda record: looked.append(record.id))]
    assert set(looked) <= {entry.id for entry in entries if not isinstance(entry, LeftOut)}
    assert {entry.reason for entry in entries if isinstance(entry, LeftOut)} == {"outside of the slice [:50%]"}


@given(st.lists(st.integers(1, 999), min_size=1, max_size=4, unique=True), st.text(min_size=1))
def test_every_image_is_in_one_part(cuts, identity):
    ends = ["", *(f"{cut / 10}%" for cut in sorted(cuts)), ""]
    parts = [split_slice(f"no_such_folder[{start}:{stop}]")[1] for start, stop in itertools.pairwise(ends)]
    assert sum(part.keeps(identity) for part in parts) == 1
    assert sum(part.share for part in parts) == pytest.approx(1)
    spot = Fraction(place(identity), 2**64) * 1000
    assert parts[sum(cut <= spot for cut in cuts)].keeps(identity)


def test_places_are_spread_evenly():
    places = np.array([place(f"{number:016x}") for number in range(10_000)], np.float64) / 2**64
    assert np.abs(np.histogram(places, 10, (0, 1))[0] - 1000).max() < 150


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[:5]", "expected shares of the images, such as"),
        ("[-5:]", "expected shares of the images, such as"),
        ("[50%:50%]", "is no slice"),
        ("[60%:50%]", "is no slice"),
        ("[:200%]", "is no slice"),
        ("[-200%:]", "is no slice"),
        ("[.%:]", "expected shares"),
    ],
)
def test_wrong_slices_are_refused(photos, wrong, said):
    with pytest.raises(UserError, match=said):
        open_source(f"{photos}/photos{wrong}")


def test_a_folder_of_such_a_name_is_no_slice(photos, tmp_path):
    folder = shutil.copytree(photos / "photos", tmp_path / "photos[:50%]")
    kept, left_out = read(str(folder))
    assert len(kept) == COUNT + 1 and not left_out


def test_listings_differ_by_the_slice(photos):
    cuts = ("", "[:90%]", "[90%:]", "[:50%]")
    assert len({open_source(f"{photos}/photos{cut}").listing for cut in cuts}) == 4


def test_images_that_other_records_hold_are_left_out_under_any_name(photos, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(photos / "photos", folder)
    (folder / "1.jpg").rename(folder / "other name.jpg")
    layouts.write_jpeg(folder / "new.jpg", 8, 8, 99)
    others = Others(photos / "records")
    source = chosen(open_source(folder), others, others.listing)
    entries = [entry for shard in source.shards for entry in shard()]
    kept = [entry for entry in entries if not isinstance(entry, LeftOut)]
    assert {entry.name.rpartition("/")[2] for entry in kept} == {"new.jpg", "3.jpg"}  # records do not hold the damaged
    assert [type(entry) for entry in kept if entry.name.endswith("3.jpg")] == [Quarantined]
    assert {entry.reason for entry in entries if isinstance(entry, LeftOut)} == {f"held by {photos}/records"}
