"""Records of records: joined, divided, selected and renamed, with manifests that say what is there."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import toy
from labeled import BOXES, TASKS

import must_tf.convert.records
from must_tf.convert import Selection, convert
from must_tf.errors import UserError
from must_tf.records import open_dataset, verify
from must_tf.records.schema import serialize


@pytest.fixture(scope="module")
def dataset(dataset, tmp_path_factory):
    """The five images, and the teacher of some labels, as a labeled dataset has it."""
    folder = tmp_path_factory.mktemp("records") / "data"
    shutil.copytree(dataset, folder)
    toy.change_manifest(folder, teachers={"det-1": {"format": "onnx"}, "det-0": {"format": "onnx"}})
    return folder


@pytest.fixture
def more(tmp_path):
    """Another dataset: two images with boxes, whose classes have another order."""
    task = type(BOXES)("boxes", ("bird", "cat", "dog"))
    records = []
    for seed in (31, 32):
        one = {"boxes": np.array([[0, 0, 0.5, 0.5]]), "classes": np.array([seed - 30]), "scores": np.array([0.5])}
        records.append(toy.record(toy.random_image(np.random.default_rng(seed), 24, 40), {"boxes": one}))
    toy.write_dataset(tmp_path / "more", records, [task], 1, {"license": "MIT"})
    return tmp_path / "more"


def read(folder):
    return list(open_dataset(folder).records())


def frames(folder):
    return list(tf.data.TFRecordDataset(open_dataset(folder).paths).as_numpy_iterator())


def to_records(data, out, **selection):
    done = convert(data, "records", out, Selection(**selection))
    findings = verify(open_dataset(out))
    assert not findings.problems and findings.records == done.count
    return done


def test_datasets_are_joined(dataset, more, tmp_path):
    to_records(f"{dataset},{more}", tmp_path / "out")
    manifest = open_dataset(tmp_path / "out").manifest
    assert manifest.count == 7 and {task.name for task in manifest.tasks} == {task.name for task in TASKS}
    assert manifest.source["license"] == "CC0-1.0; MIT" and manifest.source["from"][str(more)] == {"license": "MIT"}
    assert manifest.teachers.keys() == {"det-1"}
    found = read(tmp_path / "out")
    assert [serialize(one, TASKS) for one in found[:5]] == [serialize(one, TASKS) for one in read(dataset)]
    assert set(frames(dataset)) <= set(frames(tmp_path / "out"))  # maps too, though encoding rounds them anew
    assert [BOXES.class_names[one.labels["boxes"]["classes"][0]] for one in found[5:]] == ["cat", "dog"]


def test_slices_divide_a_dataset(dataset, tmp_path):
    parts = [tmp_path / "train", tmp_path / "held"]
    for cut, out in zip(("[:50%]", "[50%:]"), parts, strict=True):
        to_records(f"{dataset}{cut}", out)
    first, second, whole = ({one.id for one in read(folder)} for folder in (*parts, dataset))
    assert first | second == whole and not first & second and first and second
    left_out = open_dataset(parts[0]).manifest.left_out
    assert left_out == {"outside of the slice [:50%]": len(second)}


def test_labels_are_selected_and_renamed(dataset, tmp_path):
    done = to_records(
        dataset, tmp_path / "out", tasks=("boxes",), classes=("dog", "bird"), origins=("human",),
        rename=("things=boxes", "boxes.hound=dog"),
    )  # fmt: skip
    manifest = open_dataset(tmp_path / "out").manifest
    assert [(task.name, task.class_names) for task in manifest.tasks] == [("things", ("hound", "bird"))]
    assert done.labels == {"things": 2} and manifest.counts == {"things": {"human": 2}}
    assert manifest.left_out == {"without such a label": 3} and not manifest.teachers
    assert {one.filename for one in read(tmp_path / "out")} == {"night/b.png", "night/c d.png"}


def test_count_chooses_as_many(dataset, tmp_path):
    done = to_records(dataset, tmp_path / "out", count=2, tasks=("boxes",), order="uncertain")
    assert done.count == 2 and "a.png" in {one.filename for one in read(tmp_path / "out")}


def test_killed_command_resumes_to_the_same_bytes(dataset, more, tmp_path):
    data = f"{dataset},{more}"
    to_records(data, tmp_path / "whole")
    with toy.writing_shards(must_tf.convert.records, killed_at=1):
        convert(data, "records", tmp_path / "out")
    for _ in range(2):  # a finished one stays as it is
        to_records(data, tmp_path / "out")
        names = sorted(path.name for path in (tmp_path / "whole").iterdir())
        assert [(tmp_path / "out" / name).read_bytes() for name in names] == [
            (tmp_path / "whole" / name).read_bytes() for name in names
        ]


def test_names_change_in_other_formats_too(dataset, tmp_path):
    done = convert(dataset, "csv", tmp_path / "csv", Selection(("scene",), rename=("place=scene", "scene.home=indoor")))
    assert done.labels == {"place": 3} and "home" in (tmp_path / "csv/place.csv").read_text()


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        ("things", "expected NEW=TASK, or TASK.NEW=CLASS"),
        ("things=boxs", "'boxs' is no task; did you mean 'boxes'"),
        ("boxes.hound=dgo", "'boxes' has no class 'dgo'; did you mean 'dog'"),
        ("boxes.=cat", "expected NEW=TASK, or TASK.NEW=CLASS"),
        ("boxes.cat=dog", "two classes of 'boxes' would be 'cat'"),
        ("scene=boxes", "two tasks would be 'scene'"),
        ("a/b=boxes", "expected the name of a task"),
    ],
)
def test_wrong_names_are_refused(dataset, tmp_path, rename, said):
    with pytest.raises(UserError, match=said):
        convert(dataset, "records", tmp_path / "out", Selection(rename=(rename,)))
    with pytest.raises(UserError, match="gets two names"):
        convert(dataset, "records", tmp_path / "out", Selection(rename=("one=boxes", "two=boxes")))


def test_numbers_of_records_are_for_other_formats(dataset, tmp_path):
    with pytest.raises(UserError, match="numbers: received with --to=records"):
        convert(dataset, "records", tmp_path / "out", Selection(numbers=(0,)))


def test_selection_of_nothing_leaves_the_folder_for_a_better_one(dataset, tmp_path):
    with pytest.raises(UserError, match="no image is left"):
        to_records(dataset, tmp_path / "out", tasks=("scene",), origins=("det-1",))
    to_records(dataset, tmp_path / "out", tasks=("boxes",))


def test_what_is_no_dataset_is_refused(dataset, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="no records; expected folders of records"):
        convert(f"{dataset},{tmp_path}/photos", "records", tmp_path / "out")
    with pytest.raises(UserError, match="hold their images; leave them out"):
        convert(dataset, "records", tmp_path / "out", images="link")


def test_a_damaged_record_is_refused_and_not_left_out(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "data")
    shard = min(folder.glob("*.tfrecord-*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    with pytest.raises(UserError, match=f"{shard}: record .*; delete its shard, and run the command that made it"):
        convert(folder, "records", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
