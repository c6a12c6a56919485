"""Reads a miniature of PASCAL VOC: the devkit's folders, XML and palette PNGs."""

import pickle

import layouts
import numpy as np
import pytest

from must_tf.cli import label as verb
from must_tf.cli.__main__ import main
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import open_dataset, verify
from must_tf.sources import open_source
from must_tf.sources.voc import CLASSES, DETECTION
from must_tf.tasks.detection import DIFFICULT

XML = """<annotation><folder>VOC2012</folder><filename>{name}.jpg</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size><segmented>1</segmented>{objects}
</annotation>"""
OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>0</truncated><difficult>{difficult}</difficult>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
<bndbox><xmax>{box[2]}</xmax><xmin>{box[0]}</xmin><ymax>{box[3]}</ymax><ymin>{box[1]}</ymin></bndbox></object>"""


def annotate(folder, name, height, width, *objects):
    things = "".join(OBJECT.format(name=kind, difficult=hard, box=box) for kind, hard, box in objects)
    (folder / "Annotations").mkdir(exist_ok=True)
    text = XML.format(name=name, height=height, width=width, objects=things)
    (folder / "Annotations" / f"{name}.xml").write_text(text)


def list_of(folder, kind, name, lines):
    (folder / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / kind / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for i in range(4):
        layouts.write_jpeg(folder / "JPEGImages" / f"2007_00000{i}.jpg", 50, 100, i)
    annotate(folder, "2007_000000", 50, 100, ("person", 0, (1, 1, 100, 50)), ("dog", 1, (3, 3, 9, 9)))
    annotate(folder, "2007_000001", 50, 100, ("train", 0, ("11.0", 6, "50.5", 25)))
    annotate(folder, "2007_000002", 50, 100)
    list_of(folder, "Main", "trainval", ["2007_000000", "2007_000001", "2007_000002 "])
    list_of(folder, "Main", "dog_trainval", ["2007_000000  1", "2007_000001 -1"])
    mask = np.zeros((50, 100), np.uint8)
    mask[10:20, 10:20], mask[20:22] = 15, 255
    layouts.write_png(folder / "SegmentationClass" / "2007_000003.png", mask, palette=True)
    list_of(folder, "Segmentation", "train", ["2007_000003"])
    return folder


def test_boxes_become_edges_difficult_ones_are_ignored_and_parts_are_left_out(voc):
    task, records, bad = layouts.entries(f"voc:{voc}/Main/trainval")
    assert task.name == "voc_detection" and task.class_names == CLASSES and not bad
    whole = records["2007_000000.jpg"].labels[task.name]
    np.testing.assert_allclose(whole["boxes"], [[0, 0, 1, 1], [2 / 50, 2 / 100, 9 / 50, 9 / 100]])
    assert whole["classes"].tolist() == [CLASSES.index("person"), CLASSES.index("dog")]
    assert whole["ignore"].tolist() == [0, DIFFICULT]
    other = records["2007_000001.jpg"].labels[task.name]
    np.testing.assert_allclose(other["boxes"], [[5 / 50, 10 / 100, 25 / 50, 50.5 / 100]])
    assert other["ignore"].tolist() == [0]
    assert len(records["2007_000002.jpg"].labels[task.name]["boxes"]) == 0  # an image without objects has a label, too


def test_lists_of_one_class_are_read_as_lists_of_images(voc):
    _, records, _ = layouts.entries(f"voc:{voc}/Main/dog_trainval")
    assert sorted(records) == ["2007_000000.jpg", "2007_000001.jpg"]


def test_masks_are_palette_indices_and_borders_are_ignored(voc):
    task, records, bad = layouts.entries(f"voc:{voc}/Segmentation/train")
    mask = records["2007_000003.jpg"].labels[task.name]
    assert not bad and task.class_names[15] == "person" and task.ignore == 255
    assert (mask[10:20, 10:20] == 15).all() and (mask[20:22] == 255).all() and (mask[:10] == 0).all()


def test_damaged_annotations_are_quarantined_with_their_reasons(voc):
    annotate(voc, "2007_000000", 50, 100, ("person", 0, (1, 1, 104, 50)))
    (voc / "Annotations" / "2007_000001.xml").write_text("<annotation><object>")
    annotate(voc, "2007_000002", 50, 100, ("unicorn", 0, (1, 1, 4, 5)))
    annotate(voc, "2007_000003", 50, 100, ("dog", 0, ("x", 1, 4, 5)))
    list_of(voc, "Main", "trainval", [f"2007_00000{i}" for i in range(6)])
    _, records, bad = layouts.entries(f"voc:{voc}/Main/trainval", images_per_shard=100)
    assert not records
    message = [
        "4 pixels beyond",
        "its label cannot be read",
        "'unicorn'",
        "object 'dog': bndbox/xmin: 'x' received, expected pixels",
    ]
    assert [part in entry.reason for part, entry in zip(message, bad, strict=False)] == [True] * 4
    assert len(bad) == 6 and "cannot be read" in bad[5].reason


def test_masks_that_do_not_fit_are_quarantined(voc):
    for i, values in enumerate((np.zeros((50, 99)), np.zeros((50, 100, 3)), np.full((50, 100), 21))):
        layouts.write_png(voc / "SegmentationClass" / f"2007_00000{i}.png", values, palette=values.ndim == 2)
    (voc / "SegmentationClass" / "2007_000003.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    list_of(voc, "Segmentation", "train", [f"2007_00000{i}" for i in range(4)])
    _, records, bad = layouts.entries(f"voc:{voc}/Segmentation/train", images_per_shard=100)
    assert not records
    message = ["50x100", "has mode RGB", "class 21 found, expected 0 to 20", "its label cannot be read"]
    assert [part in entry.reason for part, entry in zip(message, bad, strict=True)] == [True] * 4


def test_copies_of_an_image_are_kept(voc):
    source = (voc / "JPEGImages" / "2007_000000.jpg").read_bytes()
    (voc / "JPEGImages" / "2007_000001.jpg").write_bytes(source)
    _, records, bad = layouts.entries(f"voc:{voc}/Main/trainval", images_per_shard=100)
    assert len(records) == 3 and not bad


def test_pickled_shards_read_the_same_images(voc):
    source = open_source(f"voc:{voc}/Main/trainval", 2)
    first, second = (
        [entry for shard in some.shards for entry in shard()] for some in (source, pickle.loads(pickle.dumps(source)))
    )
    assert [entry.encoded for entry in first] == [entry.encoded for entry in second]
    assert source.listing != open_source(f"voc:{voc}/Main/dog_trainval").listing


@pytest.mark.parametrize(
    ("where", "message"),
    {
        "voc:{}/nowhere/Main/trainval": "host.robots.ox.ac.uk",
        "voc:{}/Main/trian": "no .*trian.txt; .*get VOC",
        "voc:{}/Layout/trainval": "expected .*/Main/LIST",
        "voc:trainval": "get VOCtrainval",
        "vocc:{}/Main/trainval": "did you mean 'voc:'",
    }.items(),
)
def test_missing_dataset_says_where_to_get_it_in_one_line(voc, where, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(where.format(voc))
    assert "\n" not in str(caught.value)


def test_images_of_a_list_are_found_under_a_root(voc, tmp_path):
    (voc / "JPEGImages").rename(tmp_path / "photos")
    assert open_source(f"voc:{voc}/Main/trainval", root=tmp_path / "photos").count == 3


@pytest.mark.parametrize("name", ["ImageSets/Main/trainval.txt", "labelmap.txt"])
def test_a_list_that_is_no_text_is_named(voc, name):
    (voc / name).write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=name):
        open_source(f"voc:{voc}/Main/trainval")


@pytest.mark.parametrize("lost", ["JPEGImages", "Annotations"])
def test_missing_folder_is_an_error_before_any_image_is_read(voc, lost):
    (voc / lost).rename(voc / "elsewhere")
    with pytest.raises(UserError, match=f"no .*{lost}; .*get VOCtrainval"):
        open_source(f"voc:{voc}/Main/trainval")


def test_labeling_without_teachers_writes_the_human_labels(voc, tmp_path):
    manifest = label(f"voc:{voc}/Main/trainval", [], tmp_path / "out", images_per_shard=2)
    assert manifest.counts == {"voc_detection": {"human": 3}} and [shard.count for shard in manifest.shards] == [2, 1]
    findings = verify(open_dataset(tmp_path / "out"))
    counts = {"boxes": 2, "person": 1, "train": 1, "ignored boxes": 1}
    assert not findings.problems and findings.statistics["voc_detection"] == counts
    (again,) = open_source(tmp_path / "out").tasks
    assert again == DETECTION


def test_must_label_converts_from_the_command_line(voc, tmp_path, capsys):
    try:
        main(["label", f"--images=voc:{voc}/Segmentation/train", f"--out={tmp_path / 'out'}"])
    except SystemExit as error:
        assert not error.code
    finally:
        verb.FLAGS.unparse_flags()
    assert "voc_segmentation: 1 by human" in capsys.readouterr().out


def own(folder, name, *objects, size=(50, 100), file="xml"):
    """Writes an XML file as labelImg does, with its own object names."""
    things = "".join(OBJECT.format(name=kind, difficult=0, box=box) for kind, box in objects)
    path = folder / f"{name}.{file}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(XML.format(name="renamed", height=size[0], width=size[1], objects=things))


@pytest.mark.parametrize(
    ("labels", "images"), [("", ""), ("Annotations", "JPEGImages"), ("labels", "images"), ("", "images")]
)
def test_folder_of_xml_files_has_its_own_classes(tmp_path, labels, images):
    for number, name in enumerate("abc"):
        layouts.write_jpeg(tmp_path / "set" / images / f"{name}.JPG", 50, 100, number)
    own(tmp_path / "set" / labels, "a", ("zebra", (10, 5, 50, 25)), ("ant", (0, 0, 100, 50)))
    own(tmp_path / "set" / labels, "b")
    task, records, bad = layouts.entries(f"voc:{tmp_path}/set/{labels}")
    assert (task.name, task.class_names) == ("voc_detection", ("ant", "zebra")) and not bad
    label = records["a.JPG"].labels[task.name]
    np.testing.assert_allclose(label["boxes"], [[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]], atol=1e-6)
    assert label["classes"].tolist() == [1, 0] and set(records) == {"a.JPG", "b.JPG"}
    (tmp_path / "set" / labels / "classes.txt").write_text("# of the zoo\nzebra\n\nhorse\nant\n")
    assert open_source(f"voc:{tmp_path}/set/{labels}").tasks[0].class_names == ("zebra", "horse", "ant")


def test_rotated_boxes_of_cvat_become_the_boxes_around_them(tmp_path):
    """A box of 20x4 lies, and another one stands by its attribute: it reaches from edge to edge."""
    layouts.write_jpeg(tmp_path / "a.jpg", 20, 40)
    sides = "<xmin>10</xmin><ymin>8</ymin><xmax>30</xmax><ymax>12</ymax>"
    attribute = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>"
    thing = f"<object><name>cat</name><bndbox>{sides}</bndbox>{attribute}</object>"
    (tmp_path / "a.xml").write_text(f"<annotation>{thing}{thing.replace(attribute, '')}</annotation>")
    task, records, _ = layouts.entries(f"voc:{tmp_path}")
    found = records["a.jpg"].labels[task.name]["boxes"]
    np.testing.assert_allclose(found * [20, 40, 20, 40], [[0, 18, 20, 22], [8, 10, 12, 30]], atol=1e-5)
    assert records["a.jpg"].notes == ["rotated boxes become the boxes around them"]


def test_images_of_xml_files_are_found_under_a_root(tmp_path):
    own(tmp_path / "labels", "a", ("cat", (1, 1, 9, 9)))
    layouts.write_jpeg(tmp_path / "photos/2024/a.jpg", 50, 100)
    with pytest.raises(UserError, match="none of 1 images is there"):
        open_source(f"voc:{tmp_path}/labels")
    assert open_source(f"voc:{tmp_path}/labels", root=tmp_path / "photos").count == 1
    layouts.write_png(tmp_path / "photos/2025/a.png", np.zeros((50, 100, 3)))
    with pytest.raises(UserError, match="'a' is the name of 2 files"):
        open_source(f"voc:{tmp_path}/labels", root=tmp_path / "photos")


def test_wrong_xml_files_of_your_own_are_quarantined_with_file_object_and_field(tmp_path):
    for number, name in enumerate("abcdefghijk"):
        layouts.write_jpeg(tmp_path / f"{name}.jpg", 50, 100, number)
    own(tmp_path, "a", ("cat", (1, 1, 9, 9)), size=(100, 50))
    own(tmp_path, "b", ("cat", (9, 1, 1, 9)))
    own(tmp_path, "c", ("cat", (1, 1, 9, 99)))
    own(tmp_path, "d", ("cat", (1, "", 9, 9)))
    own(tmp_path, "e", ("", (1, 1, 9, 9)))
    own(tmp_path, "g", ("cat", (1, 1, 9, 9)), size=(0, 0))  # labelImg writes 0 where it cannot tell
    own(tmp_path, "h", ("cat", (0.1, 0.25, 1, 0.5)), ("cat", (0, 0, 1, 1)))
    (tmp_path / "f.xml").write_text("<svg/>")
    (tmp_path / "i.xml").write_text("<annotation><object>")
    (tmp_path / "j.xml").write_text('<?xml version="1.0" encoding="ours"?><annotation/>')
    (tmp_path / "k.xml").write_text("<annotation><objects><object><name>cat</name></object></objects></annotation>")
    _, records, bad = layouts.entries(f"voc:{tmp_path}", images_per_shard=20)
    said = [
        ".xml: size is for a picture of 100x50, this one has 50x100", "a minimum above its maximum",
        "49 pixels beyond", "bndbox/ymin: '' received, expected pixels", "object ''", "has 'svg' at its top",
        "h.xml: bndbox: (0.1, 0.25, 1.0, 0.5) received, fractions of the image",
        "i.xml: not valid XML: no element found", "j.xml: not valid XML: unknown encoding",
        "k.xml: has an object in another element",
    ]  # fmt: skip
    assert set(records) == {"g.jpg"} and len(bad) == len(said)
    assert all(part in entry.reason for part, entry in zip(said, bad, strict=True))


def test_splits_beside_each_other_have_the_same_classes(tmp_path):
    """Other classes would be refused beside each other, or have other numbers."""
    for number, (split, name) in enumerate({"train": "cat", "valid": "ant", "photos": "bee"}.items()):
        layouts.write_jpeg(tmp_path / split / "a.jpg", 50, 100, number)
        own(tmp_path / split, "a", (name, (1, 1, 9, 9)))
    found = {split: layouts.entries(f"voc:{tmp_path}/{split}")[0].class_names for split in ("train", "valid", "photos")}
    assert found == {"train": ("ant", "cat"), "valid": ("ant", "cat"), "photos": ("bee",)}


def test_folder_without_xml_files_or_objects_is_refused(tmp_path):
    with pytest.raises(UserError, match="no XML file in it"):
        open_source(f"voc:{tmp_path}")
    own(tmp_path, "a")
    with pytest.raises(UserError, match=r"none of 1 XML files has an object .*; list the classes in a classes\.txt"):
        open_source(f"voc:{tmp_path}")
    (tmp_path / "annotations.xml").write_text(
        '<annotations><image name="a.jpg"><box label="cat"/></image></annotations>'
    )
    with pytest.raises(UserError, match=r"none of 2 XML files .*annotations\.xml: .*, the format of CVAT itself"):
        open_source(f"voc:{tmp_path}")
    (tmp_path / "annotations.xml").write_text('<?xml version="1.0" encoding="gb2312"?><annotation/>')
    with pytest.raises(UserError, match=r"none of 2 XML files has an object .*annotations\.xml: not valid XML"):
        open_source(f"voc:{tmp_path}")


def test_lists_of_the_devkit_with_a_labelmap_have_its_classes(tmp_path):
    layouts.write_png(tmp_path / "JPEGImages/a.png", np.zeros((50, 100, 3)))
    annotate(tmp_path, "a", 50, 100, ("zebra", 0, (1, 1, 100, 50)))
    list_of(tmp_path, "Main", "train", ["a"])
    list_of(tmp_path, "Segmentation", "train", ["a"])
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nant:1,1,1::\nzebra:2,2,2::\n"
    )
    task, records, bad = layouts.entries(f"voc:{tmp_path}/Main/train")
    assert task.class_names == ("ant", "zebra") and not bad
    np.testing.assert_array_equal(records["a.png"].labels[task.name]["boxes"], [[0, 0, 1, 1]])
    (tmp_path / "labelmap.txt").write_text("background:::\nant\nzebra:::\n")
    with pytest.raises(UserError, match="lists classes of its own without colors; masks:"):
        open_source(f"voc:{tmp_path}/Segmentation/train")
    task, _, bad = layouts.entries(f"voc:{tmp_path}")  # the same files as a folder: their numbers are edges
    assert task.class_names == ("ant", "zebra") and not bad


def test_boxes_of_the_devkit_agree_with_supervision(tmp_path):
    supervision = pytest.importorskip("supervision")
    for number, name in enumerate("ab"):
        layouts.write_jpeg(tmp_path / "JPEGImages" / f"{name}.jpg", 50, 100, number)
    annotate(tmp_path, "a", 50, 100, ("person", 0, (11, 6, 50, 25)), ("dog", 0, (1, 1, 100, 50)))
    annotate(tmp_path, "b", 50, 100, ("cat", 0, (3, 4, 5, 6)))
    list_of(tmp_path, "Main", "train", ["a", "b"])
    theirs = supervision.DetectionDataset.from_pascal_voc(str(tmp_path / "JPEGImages"), str(tmp_path / "Annotations"))
    task, records, _ = layouts.entries(f"voc:{tmp_path}/Main/train")
    for path, _, found in theirs:
        label = records[path.rpartition("/")[2]].labels[task.name]
        ymin, xmin, ymax, xmax = label["boxes"].T * [[50], [100], [50], [100]]
        np.testing.assert_allclose(np.stack([xmin, ymin, xmax, ymax], 1) - found.xyxy, 0, atol=1 + 1e-4)
        names = [theirs.classes[number] for number in found.class_id]
        assert names == [task.class_names[number] for number in label["classes"]]
