from xml.etree import ElementTree

import numpy as np
import pytest
import supervision
import toy
from labeled import BOXES, HEIGHT, STUFF, WIDTH, boxes
from PIL import Image

from must_tf.convert import Selection, convert
from must_tf.errors import UserError
from must_tf.sources.voc import read_mask
from must_tf.tasks import Detection


def test_supervision_reads_the_boxes_within_half_a_pixel(converted):
    out, _ = converted("voc", tasks=("boxes",), origins=("det-1",))
    found = supervision.DetectionDataset.from_pascal_voc(str(out / "JPEGImages"), str(out / "Annotations"))
    ((_, _, detections),) = list(found)
    np.testing.assert_allclose(detections.xyxy, [[2.25, 1.5, 20, 10], [0, 0, WIDTH, HEIGHT]], atol=0.5)
    assert [found.classes[i] for i in detections.class_id] == ["cat", "bird"]


def test_ignored_boxes_are_difficult_and_nothing_is_a_file_without_objects(converted):
    out, done = converted("voc", tasks=("boxes",))
    root = ElementTree.parse(out / "Annotations/night/c_d.xml").getroot()
    assert [one.findtext("difficult") for one in root.findall("object")] == ["0", "1", "1"]
    assert ElementTree.parse(out / "Annotations/night/b.xml").getroot().findall("object") == []
    listed = (out / "ImageSets/Main/train.txt").read_text().splitlines()
    assert sorted(listed) == ["a", "night/b", "night/c_d"]
    assert "left out: regions that the teacher did not see: 1" in done.lines


def test_size_score_and_origin_stand_in_the_xml(converted):
    out, _ = converted("voc", tasks=("boxes",))
    root = ElementTree.parse(out / "Annotations/a.xml").getroot()
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == [str(WIDTH), str(HEIGHT), "3"]
    assert [one.findtext("score") for one in root.findall("object")] == ["0.75", "0.25"]
    assert root.findtext("source/annotation") == "det-1" and root.findtext("filename") == "a.png"


def test_masks_are_exact_for_pillow_and_for_our_source(converted, records):
    out, _ = converted("voc", tasks=("boxes", "stuff"))
    for name in ("a", "night/b"):
        want = records[f"{name}.png"].labels["stuff"]
        image = Image.open(out / f"SegmentationClass/{name}.png")
        assert image.mode == "P" and np.array_equal(np.asarray(image), want)
        path = str(out / f"SegmentationClass/{name}.png")
        assert np.array_equal(read_mask(records[f"{name}.png"], path, STUFF.num_classes), want)


def test_the_label_map_has_the_colors_of_the_palette(converted):
    out, _ = converted("voc", tasks=("boxes", "stuff"))
    rows = [line.split(":") for line in (out / "labelmap.txt").read_text().splitlines()[1:]]
    colors = {name: tuple(map(int, color.split(","))) for name, color, *_ in rows}
    assert list(colors) == [*BOXES.class_names, *STUFF.class_names] and len(set(colors.values())) == 6
    image = Image.open(out / "SegmentationClass/a.png")
    mask, rgb = np.asarray(image), np.asarray(image.convert("RGB"))
    for index, name in enumerate(STUFF.class_names):
        assert (rgb[mask == index] == colors[name]).all() and (mask == index).any()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a:b", "labelmap.txt of VOC takes no ':'"),
        ("#1", "no '#' at the start"),
        ("dog ", "without spaces around it"),
        ("background", "called 'background', which readers take for none"),
    ],
)
def test_classes_that_would_not_come_back_are_refused(tmp_path, name, said):
    record = toy.record(np.zeros((24, 40, 3), np.uint8), {"boxes": boxes([(2, 3, 10, 20, 1, 1, 0)])})
    toy.write_dataset(tmp_path / "d", [record], [Detection("boxes", ("cat", name))], num_shards=1)
    with pytest.raises(UserError, match=said):
        convert(tmp_path / "d", "voc", tmp_path / "out", Selection())
    convert(tmp_path / "d", "voc", tmp_path / "new", Selection(rename=(f"boxes.dog={name}",)))
    convert(tmp_path / "d", "voc", tmp_path / "cats", Selection(classes=("cat",)))
    with pytest.raises(UserError, match=said):
        convert(tmp_path / "d", "voc", tmp_path / "again", Selection(rename=(f"boxes.{name}=cat", f"boxes.dog={name}")))
