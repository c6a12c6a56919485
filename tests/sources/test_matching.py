"""Each label finds its image by id, content or name, or none; what is not clear is refused."""

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.sources.layout import Layout
from must_tf.sources.matching import Labels, Matched, Matcher


def image(filename, seed=0):
    record = toy.record(toy.random_image(np.random.default_rng(seed), 8, 8))
    record.filename = filename
    return record


@pytest.fixture
def match(tmp_path):
    """Returns a function: {name of an image: path of its label}, and the paths without an image."""

    def run(images, paths, ids=(), forbidden=()):
        matcher = Matcher(tmp_path / "index")
        for one in images:
            matcher.add_image(one, {0: "would be gone"} if one.filename in forbidden else {})
        layout = Layout([(str(path), str(path)) for path in paths], toy.SCENE, lambda *_: 0, ids=ids)
        left = matcher.add_labels(Labels("--merge=x", "scene", 0, layout))
        matcher.close()
        matched = Matched(str(tmp_path / "index"))
        found = {one.filename: matched.label("scene", one) for one in images}
        matched.close()
        return {name: label[1] for name, label in found.items() if label}, list(left)

    return run


NAMES = ("a.png", "day/b.tif", "night/b.png", "x y.jpg", "", "in/images/c.png")
IMAGES = [image(name, seed) for seed, name in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.png", "a.png"),
        ("a", "a.png"),
        ("a.jpg", "a.png"),  # stored in another format
        ("upload/7/a.png", "a.png"),
        ("C:\\photos\\a.png", "a.png"),
        ("exports/images/night/b.png", "night/b.png"),
        ("day/b", "day/b.tif"),
        ("x_y.jpg", "x y.jpg"),  # names without white space
        ("x%20y.jpg", "x y.jpg"),
        ("in/c", "in/images/c.png"),  # names without a folder `images`
        (f"{IMAGES[4].id}.jpg", ""),
        (f"y-{IMAGES[1].id}.jpg", "day/b.tif"),
        (f"y-{IMAGES[1].id}-2.jpg", "day/b.tif"),
    ],
)
def test_label_finds_its_image_by_name(match, path, name):
    assert match(IMAGES, [path]) == ({name: path}, [])


def test_id_goes_before_name(match):
    assert match(IMAGES, ["a.png"], [IMAGES[2].id]) == ({"night/b.png": "a.png"}, [])


def test_an_id_of_no_image_is_of_no_image_whatever_the_name(match, tmp_path):
    """Labels of another dataset, whose frames are numbered, too, would otherwise go to strange images."""
    (tmp_path / "a.png").write_bytes(IMAGES[2].encoded)
    stranger = "0123456789abcdef"
    paths = ["a.png", f"y-{IMAGES[1].id}.jpg", tmp_path / "a.png"]
    assert match(IMAGES, paths, [stranger] * 3) == ({}, [str(path) for path in paths])


def test_a_label_does_not_take_the_place_of_one_whose_image_is_gone(match):
    """Of `a.png` and `b/a.png` the first was removed; its label is not taken for that of the other."""
    left = image("b/a.png", 1)
    assert match([left], ["a.png", "b/a.png"], [image("a.png").id, left.id]) == ({"b/a.png": "b/a.png"}, ["a.png"])


def test_ids_of_other_tools_say_nothing(match):
    assert match(IMAGES, ["a.png"], ["41"]) == ({"a.png": "a.png"}, [])


def test_content_goes_before_name(match, tmp_path):
    (tmp_path / "a.png").write_bytes(IMAGES[2].encoded)
    assert match(IMAGES, [tmp_path / "a.png"]) == ({"night/b.png": str(tmp_path / "a.png")}, [])


def test_copies_of_an_image_are_told_apart_by_their_names_or_share_a_label(match, tmp_path):
    copies = [image("a.png"), image("b.png"), image("c/d.png", 1)]
    assert match(copies, ["x/b.png"], [copies[0].id]) == ({"b.png": "x/b.png"}, [])
    (tmp_path / "index").unlink()
    assert match(copies, ["z.png"], [copies[0].id]) == ({"a.png": "z.png", "b.png": "z.png"}, [])


def test_names_lose_the_same_number_of_folders(match):
    """`other/a.png` is not taken for `a.png` where `a.png` is there as such."""
    assert match(IMAGES, ["other/a.png", "day/b.tif"]) == ({"day/b.tif": "day/b.tif"}, ["other/a.png"])


def test_digits_before_names_of_uploads_are_left_out_where_all_have_some(match, tmp_path):
    """Label Studio exports uploads to COCO, YOLO and VOC under such names."""
    paths = ["images/0a1b2c3d-a.png", "images/ffffffff-x_y.txt"]
    assert match(IMAGES, paths) == ({"a.png": paths[0], "x y.jpg": paths[1]}, [])
    for others in (["images/0a1b2c3d-a.png", "other.png"], ["images/0a1b2c3d-a.png", "images/1a1b2c3d-a.png"]):
        (tmp_path / "index").unlink()
        assert match(IMAGES, others) == ({}, others)  # not clear


def test_the_image_that_is_left_is_meant(match):
    twins = [image("a.jpg", 1), image("a.png", 2)]
    assert match(twins, ["a", f"a-{twins[1].id}"]) == ({"a.jpg": "a", "a.png": f"a-{twins[1].id}"}, [])


def test_a_name_is_not_given_to_the_only_one_without_a_label(match):
    images = [image(f"f{i}/a.png", i) for i in range(9)]
    with pytest.raises(UserError, match=r"'a\.png' is the name of several images"):
        match(images, [*(f"f{i}/a.png" for i in range(8)), "a.png"])


def test_a_label_of_a_forbidden_image_is_refused(match):
    with pytest.raises(UserError, match=r"--merge=x: image a\.png: would be gone"):
        match(IMAGES, ["a.png"], forbidden=["a.png", "x y.jpg"])


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["b.png"], "'b.png' is the name of several images: day/b.tif, night/b.png"),  # a TIFF goes out as a PNG
        (["b"], "'b' is the name of several images: day/b.tif, night/b.png"),
        (["a.png", "a.jpg"], "'a.png' and 'a.jpg' are the same image, a.png"),
    ],
)
def test_what_is_not_clear_is_refused_by_name(match, paths, said):
    with pytest.raises(UserError, match=f"--merge=x: {said}"):
        match(IMAGES, paths)
