import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.export.images import Images, made_images
from must_tf.export.parity import Bound, Parity, compare, measure
from must_tf.tasks import Ranking

BOXES = [Ranking(("t/boxes", "t/classes", "t/scores"), "t/scores", "t/classes", 0.1)]


@pytest.fixture
def boxes():
    """A ranked list of boxes for two images; the second has 40 rows of padding."""
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.uniform(0.1, 1, [2, 100]), axis=1).astype(np.float32)
    classes = rng.integers(0, 3, [2, 100]).astype(np.int32)
    corners = np.sort(rng.uniform(0, 1, [2, 100, 2, 2]), axis=2).reshape(2, 100, 4).astype(np.float32)
    corners[1, 60:], classes[1, 60:], scores[1, 60:] = 0, -1, 0
    return {"t/boxes": corners, "t/classes": classes, "t/scores": scores}


def test_what_is_equal_has_no_error_and_the_error_is_relative_to_the_largest_value():
    wanted = {"depth": np.array([[100.0, 1.0]], np.float32)}
    assert compare(wanted, wanted) == {"depth": (0.0, 0.0, 2)}
    assert compare(wanted, {"depth": np.array([[100.0, 2.0]])})["depth"][0] == pytest.approx(0.01)
    thousandfold = {"depth": 1000 * wanted["depth"]}
    assert compare(thousandfold, {"depth": np.array([[1e5, 2000.0]])})["depth"][0] == pytest.approx(0.01)


@pytest.mark.parametrize("given", [{}, {"a": np.zeros([2, 2])}, {"a": np.array([0.0, np.nan])}])
def test_missing_misshapen_and_not_finite_outputs_are_infinitely_far(given):
    assert compare({"a": np.zeros(2)}, given)["a"][0] == np.inf


def test_student_whose_own_output_is_not_finite_is_named():
    wanted = {"depth/depth": np.array([1.0, np.inf])}
    with pytest.raises(UserError, match=r"savedmodel/student: the student itself gives depth/depth that is not finite"):
        measure("savedmodel/student", 1, (64, 64), wanted, wanted, Bound())


def test_an_output_too_many_is_infinitely_far():
    assert compare({}, {"a": np.zeros(2)})["a"][0] == np.inf


def test_boxes_in_another_order_are_the_same_boxes(boxes):
    order = np.random.default_rng(1).permutation(100)
    shuffled = {name: values[:, order] for name, values in boxes.items()}
    assert {name: error for name, (error, _, _) in compare(boxes, shuffled, BOXES).items()} == dict.fromkeys(boxes, 0.0)
    assert compare(boxes, shuffled, BOXES)["t/classes"][2] == 160  # padding does not count


def test_boxes_that_moved_are_measured(boxes):
    moved = boxes | {"t/boxes": boxes["t/boxes"] + np.float32(5e-4)}
    assert compare(boxes, moved, BOXES)["t/boxes"][0] == pytest.approx(5e-4, rel=0.1)


def test_a_box_in_a_hundred_may_have_no_partner_but_not_ten(boxes):
    for count, fits in ((1, True), (10, False)):
        other = {name: values.copy() for name, values in boxes.items()}
        other["t/classes"][:, :count] += 3
        errors = [error for error, _, _ in compare(boxes, other, BOXES).values()]
        assert errors == ([0.0] * 3 if fits else [np.inf] * 3)


def test_which_of_tied_boxes_survive_is_no_error_but_a_tie_excuses_no_other_box(boxes):
    tied = boxes | {"t/scores": np.where(boxes["t/classes"] < 0, 0, 0.5).astype(np.float32)}
    survivors = tied | {"t/boxes": np.where(np.arange(100)[:, None] % 2, tied["t/boxes"], 1 - tied["t/boxes"])}
    assert compare(tied, survivors, BOXES)["t/boxes"] == (0.0, 0.0, 4 * 80)
    assert compare(boxes, boxes | {"t/boxes": survivors["t/boxes"]}, BOXES)["t/boxes"][0] == np.inf


def test_in_a_rounded_network_rows_near_the_least_score_come_and_go_and_others_do_not(boxes):
    for gone, near in ((boxes["t/scores"] < 0.3, True), (boxes["t/scores"] > 0.7, False)):
        other = boxes | {"t/classes": np.where(gone, -1, boxes["t/classes"])}
        assert compare(boxes, other, BOXES)["t/scores"][0] == np.inf
        for wanted, given in ((boxes, other), (other, boxes)):
            found = compare(wanted, given, BOXES, "mean")
            assert found["t/boxes"][1] < 0.05 and found["t/classes"][:2] == (0.0, 0.0)
            assert 0 < found["t/scores"][1] < 0.1 if near else found["t/scores"][1] > 0.3
    nothing = boxes | {"t/classes": np.full_like(boxes["t/classes"], -1)}
    assert compare(nothing, boxes, BOXES, "mean")["t/scores"][1] > 0.5


def test_in_a_rounded_network_sure_boxes_that_are_gone_or_elsewhere_are_an_error(boxes):
    """Also where all scores are nearly the same, so that none is far above the least of them."""
    sure = np.where(boxes["t/classes"] >= 0, 0.9 + boxes["t/scores"] / 100, 0).astype(np.float32)
    sure[0] = 0  # an image without a box
    some = boxes | {"t/scores": sure, "t/classes": np.where(sure > 0, boxes["t/classes"], -1)}
    none = some | {"t/classes": np.full_like(some["t/classes"], -1)}
    moved = some | {"t/boxes": some["t/boxes"] + 1}
    for wanted, given in ((some, none), (none, some), (some, moved)):
        assert compare(wanted, given, BOXES, "mean")["t/scores"][1] > 0.8


def test_no_boxes_anywhere_is_zero_error_over_zero_values(boxes):
    empty = {name: np.zeros_like(values) - (name == "t/classes") for name, values in boxes.items()}
    assert set(compare(empty, empty, BOXES).values()) == {(0.0, 0.0, 0)}


def test_the_mean_error_is_that_of_all_values_and_the_largest_that_of_one():
    wanted, given = np.array([8.0, 1.0, 1.0]), np.array([8.0, 2.0, 1.0])
    assert compare({"x": wanted}, {"x": given})["x"] == pytest.approx((1 / 8, 1 / 10, 3))


def test_measure_refuses_a_file_that_differs_and_says_where():
    wanted, wrong = {"x": np.array([2.0, 0.0])}, {"x": np.array([2.002, 0.0])}
    assert measure("f", 2, (32, 64), wanted, wanted, Bound()) == [
        Parity("f", "x", (32, 64), 2, 0.0, 0.0, 2, 1e-4, "largest")
    ]
    with pytest.raises(UserError, match=r"f: output x is 0\.001 .*largest error.* 32x64, batch 3; bound 0\.0001"):
        measure("f", 3, (32, 64), wanted, wrong, Bound())
    assert measure("f", 3, (32, 64), wanted, wrong, Bound(0.01, "mean"))
    with pytest.raises(UserError, match=r"mean error.*bound 0\.0005"):
        measure("f", 3, (32, 64), wanted, wrong, Bound(0.0005, "mean"))


def test_made_images_are_the_same_each_time_and_span_the_range():
    images = made_images(3, (64, 96))
    np.testing.assert_array_equal(images, made_images(3, (64, 96)))
    assert images.shape == (3, 64, 96, 3) and images.dtype == np.float32
    assert 0 <= images.min() < 50 and 200 < images.max() <= 255


def test_images_of_the_records_are_taken_where_there_are_any(toy_data):
    images = Images(str(toy_data)).take(30, (32, 64))  # of 22
    np.testing.assert_array_equal(images[22:], images[:8])
    assert images.shape == (30, 32, 64, 3) and images.dtype == np.float32
    np.testing.assert_array_equal(images, np.rint(images))
    np.testing.assert_array_equal(Images().take(2, (32, 64)), made_images(2, (32, 64)))


MASKS = Ranking(("o/mask", "o/kind", "o/quality", "o/points"), "o/quality", "o/kind")


def objects(rng):
    """A ranked list with other columns: masks [batch, N, 7, 7], points [batch, N, 5, 2] in pixels; half is padding."""
    kinds = np.where(np.arange(40) < 20, rng.integers(0, 2000, [2, 40]), -1)
    return {
        "o/mask": rng.uniform(0, 1, [2, 40, 7, 7]).astype(np.float32),
        "o/kind": kinds.astype(np.int64),
        "o/quality": -np.sort(-rng.uniform(0, 1, [2, 40]), axis=1).astype(np.float32),
        "o/points": rng.uniform(0, 640, [2, 40, 5, 2]).astype(np.float32),
    }


def test_a_ranked_list_of_any_columns_is_compared_by_pairs_of_rows():
    wanted = objects(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(40)
    given = {name: values[:, order] for name, values in wanted.items()}
    given["o/points"] = given["o/points"] + np.float32(0.01)  # pixels
    found = compare(wanted, given, [MASKS])
    assert {name: entry[2] for name, entry in found.items()} == {
        "o/mask": 40 * 49,
        "o/kind": 40,
        "o/quality": 40,
        "o/points": 40 * 10,
    }
    assert found["o/mask"][0] == found["o/kind"][0] == 0
    assert found["o/points"][0] == pytest.approx(0.01 / 640, rel=0.1)
    assert compare(wanted, given)["o/mask"][0] > 0.5  # by position they are others


def test_rows_with_another_whole_number_or_another_mask_are_no_pairs():
    wanted = objects(np.random.default_rng(0))
    for name in ("o/kind", "o/mask"):
        given = wanted | {name: np.where(wanted["o/kind"].reshape(2, 40, *[1] * (wanted[name].ndim - 2)) >= 0, 1, 0)}
        given[name] = (wanted[name] + given[name]).astype(wanted[name].dtype)
        assert compare(wanted, given, [MASKS])[name][0] == np.inf
