import copy
import csv
import dataclasses
import json

import numpy as np
import pytest
import toy
from labeled import BOXES, STUFF, TAGS
from PIL import Image

from must_tf.convert import convert
from must_tf.convert.disagreement import agreement
from must_tf.convert.narrowing import narrowed
from must_tf.errors import UserError
from must_tf.tasks import Classification, Detection
from must_tf.tasks.detection import CROWD, UNSEEN


def coco(out, name="instances_boxes"):
    return json.loads((out / "annotations" / f"{name}.json").read_text())


def test_tasks_by_name_must_fit_the_format(converted):
    with pytest.raises(
        UserError, match="'scene': is classification; the format takes detection, instances and segmentation"
    ):
        converted("coco", tasks=("boxes", "scene"))
    with pytest.raises(UserError, match="did you mean 'boxes'"):
        converted("coco", tasks=("boxs",))
    _, done = converted("coco")
    assert set(done.labels) == {"boxes", "stuff"} and sum("the format takes" in line for line in done.lines) == 5


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("depth", "tasks depth, inverse; this format takes 1 of depth: name it with --tasks=depth"),
        ("yolo", "tasks boxes, stuff; this format takes 1 in all: name it with --tasks=boxes"),
    ],
)
def test_a_format_of_one_task_asks_which(converted, to, said):
    with pytest.raises(UserError, match=said):
        converted(to)


def test_classes_get_a_list_of_their_own(converted):
    out, _ = converted("coco", tasks=("boxes",), classes=("dog", "bird"))
    content = coco(out)
    assert [one["name"] for one in content["categories"]] == ["dog", "bird"]
    assert sorted((one["category_id"], one["iscrowd"]) for one in content["annotations"]) == [(1, 0), (1, 1), (2, 0)]
    assert len(content["images"]) == 3


def test_pixels_of_other_classes_are_ignored(converted, records):
    out, done = converted("masks", classes=("sky",))
    found, mask = np.asarray(Image.open(out / "masks/a.png")), records["a.png"].labels["stuff"]
    assert np.array_equal(found == 0, mask == STUFF.class_names.index("sky")) and set(np.unique(found)) == {0, 255}
    assert done.count == 4


def test_images_of_other_classes_are_left_out(converted):
    out, done = converted("csv", tasks=("scene",), classes=("outdoor",))
    with (out / "scene.csv").open() as file:
        assert [row[:2] for row in csv.reader(file)][1:] == [["a.png", "outdoor"]]
    assert "images without such a label: 4" in done.lines


def test_scores_below_the_least_one_are_left_out(converted):
    out, done = converted("coco", tasks=("boxes",), min_score=0.5)
    found = [one["score"] for one in coco(out)["annotations"] if not one["iscrowd"]]
    assert sorted(found) == [0.75, 1.0] and done.count == 3
    with pytest.raises(UserError, match="no scores for --min_score"):
        converted("masks", tasks=("stuff",), min_score=0.5)


@pytest.mark.parametrize("to", ["coco", "records"])
def test_labels_that_become_empty_are_counted(converted, to):
    _, done = converted(to, tasks=("boxes",), classes=("bird",), min_score=0.9)
    said = "2 images: boxes: labeled as having none, because nothing passes --classes and --min_score=0.9"
    assert said in done.lines and done.count == 3


def test_labels_of_other_origins_are_none(converted):
    out, done = converted("coco", tasks=("boxes",), origins=("human",))
    assert {one["file_name"] for one in coco(out)["images"]} == {"night/b.png", "night/c d.png"}
    assert "images without such a label: 3" in done.lines
    with pytest.raises(UserError, match="--origin: 'det-2' received; did you mean 'det-1'"):
        converted("coco", origins=("det-2",))


def scored(folder, scores):
    """Writes a dataset of images 0.png, 1.png, ... with one box of these scores each."""
    records = []
    for index, score in enumerate(scores):
        label = {"boxes": [[0, 0, 1, 1]], "classes": [0], "scores": [score]}
        records.append(toy.record(toy.random_image(np.random.default_rng(index), 8, 8), {"boxes": label}))
        records[-1].filename = f"{index}.png"
    toy.write_dataset(folder, records, (BOXES,))
    return folder


def names(out):
    return {int(one["file_name"][:-4]) for one in coco(out)["images"]}


def test_the_least_certain_images_are_those_of_the_lowest_scores(converted, tmp_path):
    scores = np.random.default_rng(0).permutation(20) / 20
    data = scored(tmp_path / "scored", scores)
    out, done = converted("coco", data=data, count=5, order="uncertain")
    assert done.count == 5 and names(out) == set(np.argsort(scores)[:5].tolist())


@pytest.mark.parametrize("to", ["masks", "records"])
def test_labels_without_scores_are_not_chosen_by_chance_in_the_name_of_doubt(converted, to):
    """And the command that the message asks for may use the folder."""
    with pytest.raises(UserError, match=r"--order=uncertain: no label of stuff has a score .* --order=random"):
        converted(to, tasks=("stuff",), count=2, order="uncertain")
    assert converted(to, tasks=("stuff",), count=2, order="random")[1].count == 2


def test_records_say_which_labels_a_filter_leaves_alone(converted):
    said = "task 'stuff': is segmentation, which has no scores for --min_score: all of its labels are kept"
    assert said in converted("records", min_score=0.5)[1].lines


def test_images_are_chosen_whose_labels_differ_most_from_others(dataset, records, tmp_path):
    """Labels that another dataset has of the same images, or has not; narrowed and renamed as these are."""
    from must_tf.convert import Selection

    changed = [toy.record(np.zeros((8, 8, 3), np.uint8))]
    for record in copy.deepcopy(list(records.values())):
        boxes = record.labels.get("boxes", {"classes": ()})
        if record.filename == "a.png":
            boxes["classes"] = np.array([1, 2])  # one of two
        changed.append(record)
    toy.write_dataset(tmp_path / "other", changed, (BOXES,))
    found = []
    for count, classes in ((1, ()), (1, ("bird",)), (2, ())):
        out = tmp_path / f"out{len(found)}"
        chosen = Selection(("boxes",), classes, count=count, order="disagreement", against=str(tmp_path / "other"),
                           rename=("things=boxes",))  # fmt: skip
        convert(dataset, "coco", out, chosen)
        found.append({one["file_name"] for one in coco(out, "instances_things")["images"]})
    assert found[0] == {"a.png"} and found[0] < found[2]
    with pytest.raises(UserError, match="expected labels with classes of one of the tasks depth"):
        convert(dataset, "depth", tmp_path / "none", Selection(("depth",), count=1, order="disagreement",
                                                               against=str(tmp_path / "other")))  # fmt: skip
    toy.write_dataset(tmp_path / "apart", changed[:1], (BOXES,))
    for to in ("coco", "records"):
        with pytest.raises(UserError, match="apart: has none of the images; expected other labels"):
            convert(dataset, to, tmp_path / f"apart_{to}", Selection(("boxes",), count=1, order="disagreement",
                                                                     against=str(tmp_path / "apart")))  # fmt: skip
    for fields in ({"order": "disagreement"}, {"against": "x"}):
        with pytest.raises(UserError, match="expected --order=disagreement with --against=RECORDS"):
            Selection(count=1, **fields)


def test_agreement_is_the_share_of_what_is_the_same(records):
    one, other = records["a.png"], copy.deepcopy(records["a.png"])
    assert agreement(one, other, [BOXES, STUFF]) == 1
    other.labels["boxes"]["classes"] = np.array([1, 2])
    assert agreement(one, other, [BOXES, STUFF]) == 0.5
    other.labels["boxes"] = {key: values[1:] for key, values in other.labels["boxes"].items()}
    assert agreement(one, other, [BOXES]) == pytest.approx(2 / 3)
    assert agreement(one, other, [STUFF]) == 1


def test_a_random_choice_depends_on_the_seed_alone(tmp_path):
    from must_tf.convert import Selection

    data = scored(tmp_path / "scored", np.ones(20))
    found = []
    for index, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"out{index}"
        convert(data, "coco", out, Selection(count=5, seed=seed))
        found.append(names(out))
    assert found[0] == found[1] != found[2] and {len(one) for one in found} == {5}


def test_narrowed_labels_are_those_of_the_narrowed_task():
    rng = np.random.default_rng(0)
    for task in (BOXES, STUFF, TAGS, Classification("scene", ("a", "b", "c"))):
        kept = task.class_names[::2]
        new, narrow = narrowed(task, kept, 0.0)
        assert new.class_names == kept and new.name == task.name
        for _ in range(20):
            label = toy.random_label(dataclasses.replace(toy_task(task), class_names=task.class_names), rng, 9, 12)
            if task is BOXES:
                label["ignore"] = rng.choice([0, CROWD], len(label["classes"]))
            found = narrow(label)
            if found is not None:
                new.encode(found)
                assert {name for name, _ in new.classes(found)} <= set(kept)


def toy_task(task):
    """Returns a task of the same kind with the settings of tests."""
    return next(one for one in toy.VARIANTS if type(one) is type(task)) if task is not TAGS else TAGS


def test_probabilities_of_one_class_images_sum_to_1_over_the_classes_that_stay():
    task = Classification("scene", ("a", "b", "c"))
    _, narrow = narrowed(task, ("a", "c"), 0.55)
    np.testing.assert_allclose(narrow(np.array([0.6, 0.2, 0.2])), [0.75, 0.25])
    assert narrow(np.array([0.5, 0.3, 0.2])) is None  # the least score is that of the label
    assert narrow(np.array([0.2, 0.6, 0.2])) is None and narrow(2) == 1
    whole = np.array([0.6, 0.2, 0.2])
    assert narrowed(task, (), 0.0)[1](whole).tolist() == whole.tolist()


def test_thresholds_by_class_are_narrowed_too():
    task = Detection("boxes", ("cat", "dog"), min_score={"cat": 0.3, "dog": 0.6})
    assert narrowed(task, ("dog",), 0.0)[0].min_score == {"dog": 0.6}


def test_what_was_not_seen_stays_unseen_whatever_the_classes():
    label = {
        "boxes": np.zeros((1, 4)),
        "classes": np.zeros(1, int),
        "scores": np.zeros(1),
        "ignore": np.full(1, UNSEEN),
    }
    found = narrowed(BOXES, ("bird",), 0.9)[1](label)
    assert found["ignore"].tolist() == [UNSEEN] and found["classes"].tolist() == [0]
