import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy
from PIL import Image

import must_tf.labeling.run
import must_tf.labeling.shard
from must_tf import storage as file_tools
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import HUMAN, open_dataset, read_manifest, verify


def save(path, image, **arguments):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **arguments)


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_every_image_becomes_a_record_with_the_labels_of_all_teachers(folder, tmp_path):
    manifest = label(folder, [toy.segmenter(), toy.classifier(name="other-2")], tmp_path / "out", 2, 2)
    assert manifest.count == 5 and len(manifest.shards) == 3
    assert manifest.counts == {"stuff": {"fake-1": 5}, "scene": {"other-2": 5}}
    assert set(manifest.teachers) == {"fake-1", "other-2"}
    assert verify(open_dataset(tmp_path / "out")).problems == []


def test_records_know_their_files_unless_names_are_private(folder, tmp_path):
    for keep in (True, False):
        out = tmp_path / f"out-{keep}"
        label(folder, [toy.segmenter()], out, 2, 2, filenames=keep)
        names = [record.filename for record in open_dataset(out).records()]
        assert names == [path.name if keep else "" for path in sorted(folder.iterdir())]
        again = label(out, [toy.classifier(name="other-2")], tmp_path / f"more-{keep}", 2)
        assert [record.filename for record in open_dataset(tmp_path / f"more-{keep}").records()] == names
        assert again.count == len(names)
    with pytest.raises(UserError, match="filenames"):
        label(folder, [toy.segmenter()], tmp_path / "out-True", 2, 2, filenames=False)


def test_teacher_sees_batches_of_one_shape(folder, tmp_path):
    teacher = toy.segmenter()
    label(folder, [teacher], tmp_path / "out", 3, 4)
    assert teacher.shapes == {(3, *toy.VIEW, 3)}


@pytest.mark.parametrize("size", [(64, 64), (40, 100), (120, 30), (31, 47)])
def test_labels_are_in_the_frame_of_the_original_image(tmp_path, size):
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    y, x = slice(height // 4, height // 2), slice(width // 2, width)
    image[y, x] = 255
    save(tmp_path / "images" / "a.png", Image.fromarray(image))
    label(tmp_path / "images", [toy.segmenter()], tmp_path / "out")
    (record,) = open_dataset(tmp_path / "out").records()
    want = (image[..., 0] > 0).astype(int)
    assert record.labels["stuff"].shape == size
    edge = np.zeros(size, bool)  # pixels within two pixels of the view from an edge
    reach = int(np.ceil(2 * max(size) / 64))
    for value in (height // 4, height // 2):
        edge[max(value - reach, 0) : value + reach] = True
    edge[:, max(width // 2 - reach, 0) : width // 2 + reach] = True
    np.testing.assert_array_equal(record.labels["stuff"][~edge], want[~edge])


def test_boxes_are_in_the_frame_of_the_original_image(tmp_path):
    def everything(red):
        count = tf.shape(red)[0]
        boxes = tf.tile([[[0.0, 0.0, 0.5, 1.0]]], [count, 1, 1])  # the part of the view that a 40x80 image covers
        return {"boxes": boxes, "classes": tf.zeros([count, 1], tf.int32), "scores": tf.ones([count, 1])}

    save(tmp_path / "images" / "a.png", Image.fromarray(np.zeros((40, 80, 3), np.uint8)))
    label(tmp_path / "images", [toy.FakeTeacher(toy.THINGS, everything)], tmp_path / "out")
    (record,) = open_dataset(tmp_path / "out").records()
    np.testing.assert_allclose(record.labels["things"]["boxes"], [[0, 0, 1, 1]])


def test_boxes_beyond_what_training_takes_are_counted_once_also_in_records_of_these_records(folder, tmp_path):
    def two(red):
        boxes = tf.tile([[[0.0, 0.0, 0.2, 0.1], [0.0, 0.2, 0.2, 0.3]]], [tf.shape(red)[0], 1, 1])
        one = tf.ones_like(boxes[..., 0])
        return {"boxes": boxes, "classes": tf.cast(0 * one, tf.int32), "scores": one}

    detector = toy.FakeTeacher(dataclasses.replace(toy.THINGS, max_boxes=1), two)
    (line,) = label(folder, [detector], tmp_path / "out", 2, 2).warnings
    assert line.startswith("5 images: things: more than 1 boxes")
    assert label(tmp_path / "out", [toy.classifier(name="other-2")], tmp_path / "more", 2).warnings == [line]


def test_killed_labeling_resumes_to_the_same_bytes(folder, tmp_path):
    label(folder, [toy.segmenter()], tmp_path / "whole", 2, 2)
    for killed_at, expected in ((1, [0]), (None, [1, 2])):
        with toy.writing_shards(must_tf.labeling.shard, killed_at) as written:
            label(folder, [toy.segmenter()], tmp_path / "out", 2, 2)
        assert written == expected
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_batch_size_does_not_change_the_bytes_of_exact_labels(folder, tmp_path):
    one, five = (label(folder, [toy.segmenter()], tmp_path / str(size), size).shards for size in (1, 5))
    assert one == five


def test_resuming_with_another_batch_size_is_refused_because_networks_may_round_differently(folder, tmp_path):
    label(folder, [toy.segmenter()], tmp_path / "out", 1)
    with pytest.raises(UserError, match=r"\(batch_size: 1, now 5\)"):
        label(folder, [toy.segmenter()], tmp_path / "out", 5)


def test_finished_labeling_is_not_repeated(folder, tmp_path):
    label(folder, [toy.segmenter()], tmp_path / "out")
    before = files(tmp_path / "out")
    teacher = toy.segmenter()
    assert label(folder, [teacher], tmp_path / "out").count == 5
    assert not teacher.shapes and files(tmp_path / "out") == before


def test_finished_labeling_is_known_though_its_version_had_fewer_fields_of_tasks(folder, tmp_path):
    manifest, path = label(folder, [toy.classifier()], tmp_path / "out"), tmp_path / "out" / ".plan.json"
    plan = file_tools.read_json(path)
    del plan["tasks"]["scene"]["top_k"]
    file_tools.write_json(path, plan)
    assert label(folder, [toy.classifier()], tmp_path / "out") == manifest


def test_output_of_another_teacher_or_folder_is_refused(folder, tmp_path):
    label(folder, [toy.segmenter()], tmp_path / "out")
    with pytest.raises(UserError, match=r'teachers\.fake-2\.id: "fake-1", now "fake-2"\)'):
        label(folder, [toy.segmenter(name="fake-2")], tmp_path / "out")
    save(folder / "more.png", Image.new("RGB", (40, 40)))
    with pytest.raises(UserError, match=r"were 5 images, now there are 6; the same command with --except="):
        label(folder, [toy.segmenter()], tmp_path / "out")


def test_license_of_the_images_is_in_the_manifest_and_is_inherited(folder, tmp_path):
    one = label(folder, [toy.segmenter()], tmp_path / "one", license="CC-BY-4.0")
    assert one.source["license"] == read_manifest(tmp_path / "one").source["license"] == "CC-BY-4.0"
    two = label(tmp_path / "one", [toy.classifier(name="other-2")], tmp_path / "two")
    three = label(tmp_path / "one", [toy.classifier(name="other-2")], tmp_path / "three", license="CC0-1.0")
    assert (two.source["license"], three.source["license"]) == ("CC-BY-4.0", "CC0-1.0")
    with pytest.raises(UserError, match=r'license: "CC-BY-4\.0", now "MIT"'):
        label(folder, [toy.segmenter()], tmp_path / "one", license="MIT")
    with pytest.raises(UserError, match=r'license: "CC-BY-4\.0", now nothing'):
        label(folder, [toy.segmenter()], tmp_path / "one")


def test_human_label_wins_and_pseudo_label_is_replaced(tmp_path):
    image = np.full((64, 64, 3), 255, np.uint8)
    records = [
        toy.record(image, {"scene": 2}),
        toy.record(image - 10, {"scene": 2}, origin="older"),
        toy.record(image - 20),
    ]
    toy.write_dataset(tmp_path / "records", records, [toy.SCENE], num_shards=1)
    manifest = label(tmp_path / "records", [toy.classifier()], tmp_path / "out")
    human, replaced, new = open_dataset(tmp_path / "out").records()
    assert (human.labels["scene"], human.origins["scene"]) == (2, HUMAN)
    assert replaced.origins["scene"] == new.origins["scene"] == "fake-1"
    assert np.argmax(replaced.labels["scene"]) == np.argmax(new.labels["scene"]) == 1
    assert manifest.counts == {"scene": {HUMAN: 1, "fake-1": 2}}
    assert human.encoded == records[0].encoded


def test_labels_of_other_tasks_and_their_teachers_are_kept(folder, tmp_path):
    label(folder, [toy.classifier(name="first-1")], tmp_path / "one")
    manifest = label(tmp_path / "one", [toy.segmenter()], tmp_path / "two")
    assert manifest.counts == {"scene": {"first-1": 5}, "stuff": {"fake-1": 5}}
    origins = {origin for task in manifest.counts.values() for origin in task}
    assert origins == set(manifest.teachers)  # each origin that is not human is a teacher in the manifest


def test_records_with_other_classes_are_refused(tmp_path):
    toy.write_dataset(tmp_path / "records", [toy.record(np.zeros((8, 8, 3), np.uint8), {"scene": 2})], [toy.SCENE], 1)
    other = toy.classifier()
    other.task = dataclasses.replace(toy.SCENE, class_names=("a", "b"))
    with pytest.raises(UserError, match="task 'scene' has class 'indoor', which the teacher does not have"):
        label(tmp_path / "records", [other], tmp_path / "out")


def test_image_with_outputs_that_are_not_finite_is_quarantined(folder, tmp_path):
    def broken(red):
        bad = tf.reduce_mean(red, [1, 2], keepdims=True)[..., tf.newaxis] > 0.5
        return {"depth": tf.where(bad, np.nan, 1.0 + red[..., tf.newaxis])}

    save(folder / "white.png", Image.new("RGB", (64, 64), "white"))
    manifest = label(folder, [toy.FakeTeacher(toy.DEPTH, broken), toy.segmenter()], tmp_path / "out", max_bad=0.5)
    assert len(manifest.quarantined) >= 1 and manifest.count + len(manifest.quarantined) == 6
    assert all("fake-1" in entry["reason"] and "not finite" in entry["reason"] for entry in manifest.quarantined)
    assert all(np.isfinite(record.labels["depth"]).all() for record in open_dataset(tmp_path / "out").records())
    assert verify(open_dataset(tmp_path / "out")).problems == []


def unsure(red):
    return {"probs": tf.fill([*red.shape, 3], 1 / 3)}


def test_teacher_that_gives_no_label_is_an_error_also_when_resumed(folder, tmp_path):
    for _ in range(2):
        with pytest.raises(UserError, match=f"{tmp_path}/out: teacher fake-1 gave no label of task 'stuff' at all"):
            label(folder, [toy.FakeTeacher(toy.STUFF, unsure)], tmp_path / "out")


def detector(*rows, score=1.0, **fields):
    """Returns a teacher that predicts the same boxes for every image."""

    def rule(red):
        count = tf.shape(red)[0]
        boxes = tf.tile(tf.constant([rows or [[0.0] * 4]], tf.float32), [count, 1, 1])
        scores = tf.fill(tf.shape(boxes)[:2], score)
        return {"boxes": boxes, "classes": tf.zeros_like(scores, tf.int32), "scores": scores}

    return toy.FakeTeacher(toy.THINGS, rule, **fields)


def test_detector_that_finds_no_box_is_an_error_with_a_remedy(folder, tmp_path):
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"fake-1 found nothing for task 'things' in 5 images; .*min_score \(now 0.5"
        ):
            label(folder, [detector((0, 0, 1, 1), score=0.4)], tmp_path / "out")
    manifest = label(folder, [detector((0, 0, 1, 1), score=0.4)], tmp_path / "out", allow_empty=True)
    assert manifest.counts == manifest.empty == {"things": {"fake-1": 5}}
    assert label(folder, [detector((0, 0, 1, 1), score=0.6)], tmp_path / "other").empty == {"things": {}}


def test_remedy_says_the_range_of_thresholds_by_class(folder, tmp_path):
    teacher = detector((0, 0, 1, 1), score=0.1)
    scores = {name: 0.3 + 0.1 * i for i, name in enumerate(toy.THINGS.class_names)}
    teacher.task = dataclasses.replace(toy.THINGS, min_score=scores)
    with pytest.raises(UserError, match=r"fake-1 found nothing .*min_score \(now 0.3 to 0.\d by class\)"):
        label(folder, [teacher], tmp_path / "out")


def test_human_labels_do_not_hide_a_teacher_that_finds_nothing(tmp_path):
    images = [np.full((64, 64, 3), value, np.uint8) for value in (0, 9)]
    known = {"things": {"boxes": np.array([[0, 0, 1, 1]], np.float32), "classes": np.array([0])}}
    toy.write_dataset(tmp_path / "some", [toy.record(images[0], known), toy.record(images[1])], [toy.THINGS], 1)
    with pytest.raises(UserError, match="found nothing for task 'things' in 1 image;"):
        label(tmp_path / "some", [detector()], tmp_path / "out")
    toy.write_dataset(tmp_path / "all", [toy.record(image, known) for image in images], [toy.THINGS], 1)
    assert label(tmp_path / "all", [detector()], tmp_path / "unasked").counts == {"things": {HUMAN: 2}}


def test_image_with_an_invalid_label_is_quarantined(folder, tmp_path):
    def logits(red):
        value = tf.reduce_mean(red, [1, 2])[:, tf.newaxis] - 0.9
        return {"probs": tf.concat([value, value + 1, value + 1], 1)}

    save(folder / "white.png", Image.new("RGB", (64, 64), "white"))
    manifest = label(folder, [toy.FakeTeacher(toy.SCENE, logits)], tmp_path / "out", max_bad=0.9)
    assert manifest.count == 1 and len(manifest.quarantined) == 5
    assert "0.png" in manifest.quarantined[0]["name"]
    assert "teacher fake-1 gave an invalid label: task 'scene': negative" in manifest.quarantined[0]["reason"]
    assert verify(open_dataset(tmp_path / "out")).problems == []


def test_image_that_a_teacher_is_unsure_about_is_a_record_without_its_label(folder, tmp_path):
    def sometimes(red):
        sure = tf.reduce_mean(red, [1, 2], keepdims=True)[..., tf.newaxis] > 0.9
        return {"probs": tf.where(sure, tf.one_hot(tf.ones_like(red, tf.int32), 3), 1 / 3)}

    save(folder / "white.png", Image.new("RGB", (64, 64), "white"))
    manifest = label(folder, [toy.FakeTeacher(toy.STUFF, sometimes)], tmp_path / "out")
    assert manifest.count == 6 and manifest.counts == {"stuff": {"fake-1": 1}}
    assert verify(open_dataset(tmp_path / "out")).problems == []


def test_more_bad_images_than_allowed_stop_the_run_until_they_are_allowed(folder, tmp_path):
    (folder / "text.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"1 of 6 images quarantined, more than --max_bad=0.1 .*text\.jpg"):
        label(folder, [toy.segmenter()], tmp_path / "out", max_bad=0.1)
    teacher = toy.segmenter()
    assert label(folder, [teacher], tmp_path / "out", max_bad=0.2).count == 5
    assert not teacher.shapes  # the finished shard was kept


def test_duplicates_are_left_out_and_do_not_count_as_bad(folder, tmp_path):
    for i in range(5):
        (folder / f"copy {i}.png").write_bytes((folder / "0.png").read_bytes())
    manifest = label(folder, [toy.segmenter()], tmp_path / "out")
    assert manifest.count == 5
    assert [entry["reason"].partition("of")[0] for entry in manifest.quarantined] == ["duplicate "] * 5


def test_second_run_in_a_folder_in_use_is_refused(folder, tmp_path):
    with file_tools.locked(tmp_path / "out"), pytest.raises(UserError, match=f"{tmp_path / 'out'}: another run"):
        label(folder, [toy.segmenter()], tmp_path / "out")
    assert label(folder, [toy.segmenter()], tmp_path / "out").count == 5


def test_labeling_in_two_runs_gives_the_bytes_of_one_run_with_both_teachers(folder, tmp_path):
    label(folder, [toy.segmenter(), toy.classifier(name="other-2")], tmp_path / "both")
    label(folder, [toy.segmenter()], tmp_path / "one")
    label(tmp_path / "one", [toy.classifier(name="other-2")], tmp_path / "two")
    (both,), (two,) = (tmp_path.glob(f"{name}/labeled-train*") for name in ("both", "two"))
    assert both.read_bytes() == two.read_bytes()


def test_images_quarantined_by_an_earlier_run_stay_listed_and_do_not_count_as_bad(folder, tmp_path):
    (folder / "text.jpg").write_text("no image")
    (folder / "copy.png").write_bytes((folder / "4.png").read_bytes())
    first = label(folder, [toy.segmenter()], tmp_path / "one", 2, 4, max_bad=0.3)
    later = label(tmp_path / "one", [toy.classifier(name="other-2")], tmp_path / "two", max_bad=0)
    last = label(tmp_path / "two", [toy.classifier(name="another-3")], tmp_path / "three", max_bad=0)
    names = [entry["name"] for entry in first.quarantined]
    assert len(names) == 2 and names == [entry["name"] for entry in later.quarantined]
    assert later.quarantined == last.quarantined and later.count == first.count == 5
    reasons = {Path(entry["name"]).name: entry["reason"] for entry in later.quarantined}
    assert reasons["text.jpg"].startswith("by an earlier run: is not a JPEG")
    assert reasons["copy.png"].startswith("by an earlier run: duplicate of ")
    assert [len(shard.quarantined) for shard in later.shards] == [len(shard.quarantined) for shard in first.shards]


@pytest.mark.parametrize("what", ["nothing", "empty", "unreadable"])
def test_source_without_readable_images_is_refused_by_name(tmp_path, what):
    where = tmp_path / what
    if what != "nothing":
        where.mkdir()
    if what == "unreadable":
        (where / "a.jpg").write_text("not an image")
    with pytest.raises(UserError, match=what if what != "unreadable" else r"a\.jpg: is not a JPEG"):
        label(where, [toy.segmenter()], tmp_path / "out")


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_output_that_is_a_file_is_refused(folder, tmp_path, out):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError, match=f"{out}: taken is a file; expected a new folder"):
        label(folder, [toy.segmenter()], tmp_path / out)
    assert (tmp_path / "taken").read_text() == "mine"


def test_no_teacher_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="has no labels, so a teacher must make them"):
        label(folder, [], tmp_path / "out")


@pytest.mark.parametrize("what", ["url", "file", "others", "arguments", "locked", "misspelled", "no teacher"])
def test_errors_that_need_no_teacher_are_raised_before_teachers_are_loaded(what, folder, tmp_path, monkeypatch):
    def load():
        raise AssertionError("loaded")

    images, teachers, out = folder, load, tmp_path / "out"
    if what == "url":
        monkeypatch.chdir(tmp_path)
        out, message = "ftp://bucket/x", "ftp://bucket/x: is not a local path, nor one of s3://"
    elif what == "file":
        out.touch()
        message = "out is a file"
    elif what == "others":
        out, message = folder, "holds other files"
    elif what == "arguments":
        label(folder, [toy.segmenter()], out, 7)
        message = "batch_size: 7, now 32"
    elif what == "locked":
        message = "another run is at work"
    elif what == "misspelled":
        images, message = tmp_path / "imges", "imges: no such folder or file"
    else:
        teachers, message = [], "has no labels, so a teacher must make them"
    if what not in ("misspelled", "no teacher"):
        monkeypatch.setattr(must_tf.labeling.run, "open_source", load)
    before = sorted(tmp_path.rglob("*"))
    with contextlib.ExitStack() as stack:
        if what == "locked":
            stack.enter_context(file_tools.locked(out))
            before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match=message):
            label(images, teachers, out)
        assert sorted(tmp_path.rglob("*")) == before


# Teachers


def test_manifest_describes_a_foreign_teacher_completely(folder, tmp_path):
    model = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((16, 24, 3)), tf_keras.layers.GlobalAveragePooling2D(), tf_keras.layers.Softmax()]
    )
    model.save(tmp_path / "mean.keras")
    card = {"task": "classification", "class_names": ["red", "green", "blue"], "activation": "probabilities"}
    card |= {"range": [0, 1], "license": "CC0-1.0", "source": "this test"}
    (tmp_path / "mean.keras.card.json").write_text(json.dumps(card))
    teachers = toy.load_all([f"color=keras:{tmp_path}/mean.keras"])
    manifest = label(folder, teachers, tmp_path / "out")
    assert manifest.counts == {"color": {teachers[0].id: 5}}
    teacher = json.loads((tmp_path / "out" / "manifest.json").read_text())["teachers"][teachers[0].id]
    assert teacher["sha256"] == file_tools.sha256(tmp_path / "mean.keras")
    assert (teacher["license"], teacher["source"], teacher["input_size"]) == ("CC0-1.0", "this test", [16, 24])
    assert teacher["libraries"] and {name: teacher["card"].get(name) for name in card} == card
    (record, *_) = open_dataset(tmp_path / "out").records()
    assert record.labels["color"].sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["depth"], "'depth' received, expected TASK=FORMAT:PATH"),
        (["=student:x"], "expected TASK=FORMAT:PATH"),
        (["depth=student"], "no format; expected FORMAT:PATH"),
        (["depth=m.onnx"], "no format; expected FORMAT:PATH, as onnx:m.onnx"),
        (["depth=onnx:"], "no path; expected onnx:PATH"),
        (["depth=studnt:x"], "did you mean 'student'"),
        (["depth=student:/nowhere"], "/nowhere: no such folder"),
    ],
)
def test_wrong_teachers_are_refused(texts, message):
    with pytest.raises(UserError, match=message):
        toy.load_all(texts)


def test_student_is_a_teacher_of_its_tasks_by_name(toy_run):
    teacher = toy.load("depth", f"student:{toy_run}")
    assert (teacher.task, teacher.input_size) == (toy.DEPTH, toy.VIEW)
    assert teacher(np.zeros([1, *toy.VIEW, 3], np.uint8))["depth"].shape == (1, *toy.VIEW, 1)
    with pytest.raises(UserError, match="no task 'dept'; did you mean 'depth'"):
        toy.load("dept", f"student:{toy_run}")


def test_student_with_one_task_is_a_teacher_of_it_under_any_name(classifier_run):
    teacher = toy.load("other", f"student:{classifier_run}")
    assert teacher.task.name == "other" and teacher.task.class_names == toy.SCENE.class_names
    assert json.loads(json.dumps(teacher.describe()))["task"]["name"] == "other"


def test_id_of_a_student_depends_on_its_weights(toy_run, classifier_run):
    some, same, other = (toy.load("scene", f"student:{where}").id for where in (toy_run, toy_run, classifier_run))
    assert some == same != other


def test_real_student_labels_a_folder(folder, toy_run, tmp_path):
    teachers = toy.load_all([f"{task.name}=student:{toy_run}" for task in toy.TASKS if task != toy.STUFF])
    manifest = label(folder, teachers, tmp_path / "out", 3, allow_empty=True)  # the toy finds no box
    assert manifest.count == 5
    assert verify(open_dataset(tmp_path / "out")).problems == []
    before = files(tmp_path / "out")
    assert label(folder, teachers, tmp_path / "out", 3, allow_empty=True).count == 5  # resumed with nothing to do
    assert files(tmp_path / "out") == before
