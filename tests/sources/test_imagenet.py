"""Reads miniatures of ImageNet and of own images: one folder per class."""

import shutil

import layouts
import pytest
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import check_same_labels
from must_tf.sources import open_source

CLASSES = ("n01440764", "n01443537", "n02084071")


@pytest.fixture
def imagenet(tmp_path):
    for number, name in enumerate(CLASSES):
        for i in range(3):
            layouts.write_jpeg(tmp_path / "train" / name / f"{name}_{i}.JPEG", 20, 30, 10 * number + i)
    (tmp_path / "train" / CLASSES[0] / "notes.txt").write_text("no image")
    return tmp_path


def test_image_has_the_class_of_its_folder(imagenet):
    task, records, bad = layouts.entries(f"imagenet:{imagenet}/train")
    assert task.name == "imagenet" and task.class_names == CLASSES and len(records) == 9 and not bad
    assert all(CLASSES[record.labels["imagenet"]] in name for name, record in records.items())


def test_every_shard_has_images_of_every_class(imagenet):
    source = open_source(f"imagenet:{imagenet}/train", images_per_shard=5)
    assert [len(list(shard())) for shard in source.shards] == [5, 4]
    assert all({entry.labels["imagenet"] for entry in shard()} == {0, 1, 2} for shard in source.shards)


def test_folders_of_your_own_are_the_classes_of_a_task_with_the_datasets_name(imagenet, monkeypatch):
    imagenet.rename(imagenet.parent / "jft")
    monkeypatch.chdir(imagenet.parent)
    for where in (f"classes:{imagenet.parent}/jft/train", "classes:jft/train"):
        task, records, bad = layouts.entries(where)
        assert task.name == "jft" and task.class_names == CLASSES and len(records) == 9 and not bad
    (imagenet.parent / "jft").rename(imagenet.parent / "j-f t")
    for where, message in (
        ("j-f t/train", "'j-f t' cannot be the name of a task"),
        ("nowhere/train", "lay the images out as"),
    ):
        for prefix in ("classes", "multilabel"):
            with pytest.raises(UserError, match=f"{prefix}:.*{message}"):
                open_source(f"{prefix}:{imagenet.parent}/{where}")


def test_a_folder_without_splits_gives_its_own_name(tmp_path):
    for number, name in enumerate(("zoo/ant", "zoo/bee", "park/spring/ant", "park/autumn/ant", "park/autumn/bee")):
        layouts.write_jpeg(tmp_path / name / "a.jpg", 20, 30, number)
    found = {
        where: layouts.entries(f"classes:{tmp_path}/{where}")[0] for where in ("zoo", "park/spring", "park/autumn")
    }
    assert {where: task.name for where, task in found.items()} == {
        "zoo": "zoo", "park/spring": "park", "park/autumn": "park",
    }  # fmt: skip
    assert found["zoo"].class_names == ("ant", "bee")
    (tmp_path / "zoo").rename(tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    (tmp_path / "inner").rename(tmp_path / "outer/zoo")
    said = "has one class alone, 'zoo'; if ant, bee are classes, name the folder they are in"
    assert any(line.endswith(said) for line in open_source(f"classes:{tmp_path}/outer").warnings)


def test_a_split_without_images_of_a_class_is_refused_beside_the_other_unless_the_class_has_a_folder(tmp_path):
    for split, names in (("train", ("ant", "bee", "cat")), ("validation", ("ant", "cat"))):
        for number, name in enumerate(names):
            layouts.write_jpeg(tmp_path / "zoo" / split / name / f"{name}.jpg", 20, 30, number)
    wanted, *_ = layouts.entries(f"classes:{tmp_path}/zoo/train")
    lacking, *_ = layouts.entries(f"classes:{tmp_path}/zoo/validation")
    with pytest.raises(UserError, match=r"validation: task 'zoo' has class_names \('ant', 'cat'\), not \('ant', 'bee'"):
        check_same_labels("validation", [lacking], [wanted])
    (tmp_path / "zoo/validation/bee").mkdir()
    whole, records, _ = layouts.entries(f"classes:{tmp_path}/zoo/validation")
    check_same_labels("validation", [whole], [wanted])
    found = {name: whole.class_names[record.labels["zoo"]] for name, record in records.items()}
    assert found == {"ant.jpg": "ant", "cat.jpg": "cat"}


def test_damaged_image_is_quarantined(imagenet):
    (imagenet / "train" / CLASSES[1] / f"{CLASSES[1]}_1.JPEG").write_bytes(b"\xff\xd8\xffrubbish")
    _, records, bad = layouts.entries(f"imagenet:{imagenet}/train")
    assert len(records) == 8 and "damaged JPEG" in bad[0].reason


def test_missing_dataset_says_where_to_get_it(imagenet):
    (imagenet / "empty").mkdir()
    for where in ("val", "empty", "nowhere/train"):
        with pytest.raises(UserError, match="get ILSVRC2012_img_train"):
            open_source(f"imagenet:{imagenet}/{where}")


@pytest.fixture
def animals(tmp_path):
    """Four images: a cat, a dog, both (a copy and a link), and neither; and another cat and dog of one name."""
    root = tmp_path / "animals/train"
    for number, name in enumerate(("cat/a.jpg", "dog/b.jpg", "cat/both.jpg", "none.jpg")):
        layouts.write_jpeg(root / name, 20, 30, number)
    shutil.copy(root / "cat/both.jpg", root / "dog/both.jpg")
    (root / "pet").mkdir()
    (root / "pet/both.jpg").symlink_to(root / "cat/both.jpg")
    return tmp_path / "animals"


def test_image_in_the_folders_of_several_classes_is_multi_label(animals):
    task, records, bad = layouts.entries(f"multilabel:{animals}/train")
    assert task.multi_label and (task.name, task.class_names) == ("animals", ("cat", "dog", "pet")) and not bad
    found = {name: record.labels["animals"].tolist() for name, record in records.items()}
    expected = {"a": [1, 0, 0], "b": [0, 1, 0], "both": [1, 1, 1], "none": [0, 0, 0]}
    assert found == {f"{name}.jpg": [bool(one) for one in label] for name, label in expected.items()}


def test_another_image_of_the_same_name_is_no_class_of_an_image(animals):
    for place in ("dog/a.jpg", "both.jpg"):
        layouts.write_jpeg(animals / "train" / place, 20, 30, 9)
    _, records, bad = layouts.entries(f"multilabel:{animals}/train")
    assert set(records) == {"b.jpg", "none.jpg"} and len(bad) == 2
    assert all("has its name, but is another image" in entry.reason for entry in bad)


def test_one_image_with_two_classes_is_refused_where_an_image_has_one(animals):
    message = r"cat/both.jpg and dog/both.jpg are the same image \(1 images have .*\); .* multilabel:.*animals/train"
    with pytest.raises(UserError, match=message):
        open_source(f"classes:{animals}/train")
    for folder in ("dog", "pet"):
        (animals / "train" / folder / "both.jpg").unlink()
    layouts.write_jpeg(animals / "train/dog/a.jpg", 20, 30, 9)  # of one name, but two images
    task, records, _ = layouts.entries(f"classes:{animals}/train")
    assert not task.multi_label and len(records) == 3
    assert open_source(f"classes:{animals}/train").count == 4


def test_hidden_system_and_empty_folders_are_no_classes_and_every_format_counts(tmp_path):
    root = tmp_path / "pets/train"
    for number, (place, kind) in enumerate(
        {
            "bird/0.png": "PNG", "cat/1.png": "PNG", "cat/2.JPG": "JPEG", "cat/3.webp": "WEBP", "cat/4.bmp": "BMP",
            "cat/5.tif": "TIFF", "cat/6.jfif": "JPEG", "cat/7.gif": "GIF", "cat/indoor/8.png": "PNG",
            ".ipynb_checkpoints/1-checkpoint.png": "PNG", "cat/.ipynb_checkpoints/1-checkpoint.png": "PNG",
            "@eaDir/thumb.png": "PNG", "__MACOSX/x.png": "PNG", "cat/._1.png": "PNG",
        }.items()
    ):  # fmt: skip
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32), (number, 9, 9)).save(root / place, kind)
    (root / "empty").mkdir()
    for name in ("notes.txt", "more.txt", "Thumbs.db"):
        (root / "cat" / name).touch()
    Image.new("RGB", (40, 32), (99, 9, 9)).save(root / "loose.png")  # without a class, which `multilabel` can be
    for prefix in ("classes", "multilabel"):
        where = f"{prefix}:{tmp_path}/pets/train"
        task, records, bad = layouts.entries(where)
        assert task.class_names == ("bird", "cat") and not bad
        assert sum("/cat/" in record.name for record in records.values()) == 8
        empty, *loose, system, left_out = open_source(where).warnings
        assert len(records) == 9 + (prefix == "multilabel")
        assert [line.partition(": ")[2] for line in loose] == [
            "1 image, such as loose.png, in no folder of a class: left out"
        ] * (prefix == "classes")
        assert empty.endswith("folders without an image are no classes: empty")
        assert system.endswith("left out: .ipynb_checkpoints, @eaDir, __MACOSX")
        assert left_out.endswith("3 files left out by their suffix: 2 .txt, 1 .db")


def test_same_image_twice_in_one_class_is_allowed(tmp_path):
    for place in ("cat/a/1.jpg", "cat/b/1.jpg", "dog/2.jpg"):
        layouts.write_jpeg(tmp_path / "pets/train" / place, 20, 30, seed=place.endswith("2.jpg"))
    assert open_source(f"classes:{tmp_path}/pets/train").count == 3


def test_empty_folder_of_no_other_split_is_no_class(tmp_path):
    for split in ("train", "validation"):
        layouts.write_jpeg(tmp_path / "zoo" / split / "ant/0.jpg", 20, 30)
        (tmp_path / "zoo" / split / "gnu").mkdir()
    source = open_source(f"classes:{tmp_path}/zoo/validation")
    assert source.tasks[0].class_names == ("ant",) and source.warnings[0].endswith("are no classes: gnu")
