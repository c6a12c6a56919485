"""Labels of a source get the name and the classes of another task: matched by name, in any order."""

import pickle
from pathlib import Path

import layouts
import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import open_dataset
from must_tf.sources import open_source, renamed
from must_tf.tasks import Classification, Detection, Segmentation


def write(folder, *lines):
    (folder / "pets.csv").write_text("\n".join(lines))
    return f"csv:{folder}/pets.csv"


@pytest.fixture
def boxes(tmp_path):
    layouts.write_jpeg(tmp_path / "a.jpg", 20, 40)
    return write(tmp_path, "file,class,x,y,w,h", "a.jpg,dog,0,0,10,10", "a.jpg,cat,0,0,20,20")


def read(source):
    (task,) = source.tasks
    ((record,),) = [list(shard()) for shard in pickle.loads(pickle.dumps(source)).shards]
    return task, record


def test_task_gets_another_name(boxes):
    for tasks in ({"found": "pets"}, {"found": ""}):
        task, record = read(open_source(boxes, tasks=tasks))
        assert (task.name, task.class_names) == ("found", ("cat", "dog"))
        assert set(record.labels) == {"found"} and record.origins == {"found": "human"}


def test_classes_are_matched_by_name(boxes):
    teacher = Detection("found", ("emu", "dog", "cat"), min_score={"emu": 0.1, "dog": 0.2, "cat": 0.3})
    with pytest.raises(
        UserError, match=r"'found' lacks classes that the teacher has: emu; .* If people looked for them, list"
    ):
        renamed(open_source(boxes, tasks={"found": ""}), boxes, {}, [teacher])
    Path(boxes.removeprefix("csv:")).with_name("classes.txt").write_text("cat\ndog\nemu\n")
    source = renamed(open_source(boxes, tasks={"found": ""}), boxes, {}, [teacher])
    task, record = read(source)
    assert task.identity == teacher.identity and record.labels["found"]["classes"].tolist() == [1, 2]
    assert source.warnings == ()
    with pytest.raises(UserError, match="task 'pets' has class 'cat', which the teacher does not have"):
        renamed(open_source(boxes), boxes, {}, [Detection("pets", ("dog",))])


HERE, THERE = ("a", "b"), ("c", "b", "a")
SOFT, MANY = np.float32([0.25, 0.75]), np.array([True, False])


@pytest.mark.parametrize(
    ("kind", "fields", "before", "after"),
    [
        (Classification, {}, 0, 2),
        (Classification, {}, SOFT, [0, 0.75, 0.25]),
        (Classification, {"multi_label": True}, MANY, [False, False, True]),
        (Segmentation, {}, np.array([[0, 1, 255, -1]]), [[2, 1, -1, -1]]),
    ],
)
def test_labels_of_every_kind_keep_their_classes(kind, fields, before, after):
    task, to = (kind("x", names, **fields) for names in (HERE, THERE))
    moved = task.translate(before, to)
    assert np.asarray(moved).tolist() == np.asarray(after).tolist()
    assert task.translate(before, task) is not None and to.encode(moved)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"found": "cats"}, "--tasks=found=cats: .* has no such task; did you mean|--tasks=found=cats: .*known: pets"),
        ({"a": "pets", "b": "pets"}, "'pets' becomes both 'a' and 'b'"),
        ({"../x": ""}, "expected the name of a task"),
    ],
)
def test_wrong_names_are_refused(boxes, tasks, said):
    with pytest.raises(UserError, match=said):
        open_source(boxes, tasks=tasks)


def test_images_without_labels_and_records_of_several_tasks_need_more_words(boxes, tmp_path, toy_data):
    with pytest.raises(UserError, match=r"--tasks=x: .* has no labels"):
        open_source(tmp_path / "a.jpg", tasks={"x": ""})
    names = [task.name for task in open_dataset(toy_data).manifest.tasks]
    with pytest.raises(UserError, match="has several tasks; give x=TASK, of"):
        open_source(toy_data, tasks={"x": ""})
    with pytest.raises(UserError, match=f"two tasks of .* would be {names[1]!r}"):
        open_source(toy_data, tasks={names[1]: names[0]})
    source = open_source(toy_data, tasks={"other": names[0]})
    assert [task.name for task in source.tasks] == ["other", *names[1:]]
    assert any("other" in record.labels for shard in source.shards for record in shard())


def test_corrected_labels_win_over_the_teacher_of_their_task(tmp_path):
    last = toy.SCENE.class_names[-1]
    for number, name in enumerate("ab"):
        layouts.write_jpeg(tmp_path / f"{name}.jpg", 64, 64, number)
    where = write(tmp_path, "file,class", f"a.jpg,{last}", f"b.jpg,{last}")
    manifest = label(where, [toy.classifier()], tmp_path / "out", tasks={toy.SCENE.name: ""})
    assert manifest.counts == {toy.SCENE.name: {"human": 2}}
    assert manifest.tasks[0].identity == toy.SCENE.identity
    found = [record.labels[toy.SCENE.name] for record in open_dataset(tmp_path / "out").records()]
    assert found == [len(toy.SCENE.class_names) - 1] * 2
    assert any("no image of" in line and "which the teacher has" in line for line in manifest.warnings)
    assert label(where, [toy.classifier()], tmp_path / "out", tasks={toy.SCENE.name: ""}) == manifest
    with pytest.raises(UserError, match="made with other arguments"):
        label(where, [toy.classifier()], tmp_path / "out")
