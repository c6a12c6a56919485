"""The index of an annotation file is the same in every process, and follows the file."""

import json
import pickle

import layouts
import pytest

from must_tf.errors import UserError
from must_tf.sources import coco_index, open_source
from must_tf.sources.coco_file import read_annotation_file

BOX = {"bbox": [1, 2, 3, 4], "category_id": 1}


@pytest.fixture
def path(tmp_path):
    """A file whose annotations stand before its images, in any order; ids are numbers and texts."""
    images = [{"id": key, "file_name": f"{key}.jpg"} for key in ("b", 10, 9, "a")]
    annotations = [BOX | {"id": number, "image_id": key} for number, key in enumerate((9, "a", 10, 9, "a", 9))]
    content = {"annotations": annotations, "categories": [{"id": 1, "name": "x"}], "info": {}, "images": images}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return tmp_path / "labels.json"


def found(content):
    return [(one.key, one.picture.name, [entry.id() for entry in one.annotations]) for one in content.labeled()]


EXPECTED = [(9, "9.jpg", [0, 3, 5]), (10, "10.jpg", [2]), ("a", "a.jpg", [1, 4]), ("b", "b.jpg", [])]


def test_annotations_may_stand_before_images_and_images_come_in_the_order_of_their_ids(path):
    content = read_annotation_file(path)
    assert found(content) == EXPECTED and list(content.names()) == [name for _, name, _ in EXPECTED]
    one = content.labeled_image("a")
    assert (one.key, [entry.id() for entry in one.annotations]) == ("a", [1, 4])


def test_copy_reads_the_same_file_and_without_it_makes_its_own(path):
    content = read_annotation_file(path)
    copied = pickle.dumps(content)
    assert found(pickle.loads(copied)) == EXPECTED
    place = content.index._file
    del content
    assert not place.exists()  # the index goes with its first owner
    assert found(pickle.loads(copied)) == EXPECTED
    coco_index._made_again.cache_clear()
    path.write_text(path.read_text().replace('"x"', '"y"'))
    with pytest.raises(UserError, match=r"labels\.json: has changed since the run began"):
        pickle.loads(copied)


def test_another_label_is_another_collection(path):
    layouts.write_jpeg(path.with_name("9.jpg"), 20, 40)
    before = open_source(f"coco:{path}").listing
    assert open_source(f"coco:{path}").listing == before
    path.write_text(path.read_text().replace("[1, 2, 3, 4]", "[1, 2, 3, 5]", 1))
    assert open_source(f"coco:{path}").listing != before


def test_no_room_for_the_index_is_one_line(path, monkeypatch):
    monkeypatch.setattr(coco_index, "_INDICES", "PRAGMA max_page_count=1; CREATE INDEX i ON images (key);")
    with pytest.raises(UserError, match=r"no place for the index of .*labels\.json .*set TMPDIR"):
        read_annotation_file(path)


def test_id_beyond_64_bits_is_refused(path):
    path.write_text(path.read_text().replace('"id": 10,', f'"id": {10**30},'))
    with pytest.raises(UserError, match=r"image 1000.*: id: .* received; expected a whole number of at most 64 bits"):
        read_annotation_file(path)
