import json

import pytest
from labeled import HEIGHT, WIDTH

from must_tf.errors import UserError


def lines(out):
    return {line["file_name"]: line for line in map(json.loads, (out / "metadata.jsonl").read_text().splitlines())}


def test_each_line_names_a_file_and_has_the_same_columns(converted):
    out, done = converted("imagefolder")
    found = lines(out)
    assert done.count == len(found) == 3 and len({tuple(line) for line in found.values()}) == 1
    assert all((out / name).is_file() for name in found)


def test_boxes_and_classes_go_along_and_ignored_boxes_apart(converted):
    out, _ = converted("imagefolder")
    first, third = (lines(out)[f"images/{name}"] for name in ("a.png", "night/c d.png"))
    assert first["boxes"]["bbox"][1] == [0, 0, WIDTH, HEIGHT] and first["boxes"]["category"] == ["cat", "bird"]
    assert first["boxes_origin"] == "det-1" and first["boxes"]["score"] == [0.75, 0.25]
    assert (first["scene"], first["scene_score"], first["tags"]) == ("outdoor", None, ["red", "blue"])
    assert third["boxes"]["category"] == ["dog"]
    assert third["boxes_ignored"]["reason"] == ["difficult", "crowd", "unseen"]
    assert third["boxes_ignored"]["category"] == ["cat", "dog", ""]


def test_no_list_is_one_of_nulls_which_pyarrow_cannot_read(converted):
    out, _ = converted("imagefolder")
    for line in lines(out).values():
        assert not [name for name, value in line.items() if isinstance(value, list) and None in value]
    assert lines(out)["images/a.png"]["tags_score"] is None


def test_nothing_is_an_empty_list_and_no_label_is_null(converted):
    out, _ = converted("imagefolder", origins=("human",))
    found = lines(out)
    assert found["images/night/b.png"]["boxes"]["bbox"] == [] and found["images/night/b.png"]["tags"] == []
    assert found["images/a.png"]["boxes"] is None and found["images/a.png"]["boxes_origin"] is None


def test_images_are_needed(converted):
    with pytest.raises(UserError, match="--images=none"):
        converted("imagefolder", images="none")


@pytest.mark.parametrize("name", ["file_name", "boxes_ignored"])
def test_a_task_whose_column_would_overwrite_another_one_is_refused(converted, name):
    with pytest.raises(UserError, match=f"two columns would be called '{name}'"):
        converted("imagefolder", rename=(f"{name}=scene",))
