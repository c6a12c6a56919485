"""CSV files: a class per image, or a box per row; what is wrong is named with its line."""

import layouts
import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.sources import open_source


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate("abc"):
        layouts.write_jpeg(tmp_path / "images" / f"{name}.jpg", 20, 40, number)
    return tmp_path


def write(photos, *lines, name="pets.csv"):
    (photos / name).write_text("\n".join(lines), encoding="utf-8-sig")
    return f"csv:{photos}/{name}"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_classes_of_images(photos, separator):
    rows = (("Filename", "Label"), ("a.jpg", "dog"), ("images/b.jpg", "cat"), ("c.jpg", "dog"), ("c.jpg", "dog"))
    rows = [row for row in rows if row[0] != "images/b.jpg"] + [("b.jpg", "cat")]
    task, records, bad = layouts.entries(write(photos, *map(separator.join, rows)))
    assert (task.name, task.kind, task.class_names) == ("pets", "classification", ("cat", "dog")) and not bad
    assert {name: record.labels["pets"] for name, record in records.items()} == {"a.jpg": 1, "b.jpg": 0, "c.jpg": 1}


def test_classes_that_are_nearly_the_same_are_told(photos):
    where = write(photos, "file,class", "a.jpg,traffic light", "b.jpg,Traffic_Light", "c.jpg,dog")
    (said,) = open_source(where).warnings
    assert "classes 'Traffic_Light' and 'traffic light' are nearly the same" in said


@pytest.mark.parametrize(
    "rows",
    [
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax",
            "a.jpg,40,20,cat,10,5,20,15", "a.jpg,40,20,dog,0,0,40,20", "b.jpg,40,20,,,,,",
        ),
        ("file,label,x,y,width,height", "a.jpg,cat,10,5,10,10", "a.jpg,dog,0,0,40,20", "b.jpg,,,,,"),
        (
            "file,label,x,y,w,h,width,height",
            "a.jpg,cat,10,5,10,10,40,20", "a.jpg,dog,0,0,40,20,40,20", "b.jpg,,,,,,40,20",
        ),
        (
            "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height",  # makesense.ai
            "cat,10,5,10,10,a.jpg,40,20", "dog,0,0,40,20,a.jpg,40.0,20.0", ",,,,,b.jpg,40,20",
        ),
        ("image_path,x1,y1,x2,y2,class_name", "a.jpg,10,5,20,15,cat", "a.jpg,0,0,40,20,dog", "b.jpg,,,,,"),
    ],
)  # fmt: skip
def test_boxes_of_images(photos, rows):
    task, records, bad = layouts.entries(write(photos, *rows))
    assert (task.name, task.kind, task.class_names) == ("pets", "detection", ("cat", "dog")) and not bad
    label = records["a.jpg"].labels["pets"]
    np.testing.assert_allclose(label["boxes"], [[0.25, 0.25, 0.75, 0.5], [0, 0, 1, 1]], atol=1e-6)
    assert label["classes"].tolist() == [0, 1] and len(records["b.jpg"].labels["pets"]["boxes"]) == 0


def test_columns_that_are_not_read_are_named(photos):
    """Such as the box of a table whose columns have names of their own: its classes alone say something else."""
    where = write(photos, ",file,class,sex,index,note", "0,a.jpg,dog,m,1,", "1,b.jpg,cat,f,2,")
    assert layouts.entries(where)[0].kind == "classification"
    assert open_source(where).warnings == (f"{photos}/pets.csv: columns that are not read: 'sex', 'index', 'note'",)
    of_convert = write(photos, "file,class,score,origin", "a.jpg,dog,0.5,pseudo")
    assert open_source(of_convert).warnings == ()


def test_list_of_classes_sets_their_order(photos):
    (photos / "classes.txt").write_text("\nzebra\n\ndog\ncat\n\n")  # labels have no numbers that an empty line moves
    where = write(photos, "file,class", "a.jpg,dog")
    assert open_source(where).tasks[0].class_names == ("zebra", "dog", "cat")
    with pytest.raises(UserError, match=r"class 'ant' is not in .*classes\.txt"):
        open_source(write(photos, "file,class", "a.jpg,ant"))


def test_images_are_found_under_a_root(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    where = write(folder, "file,class", "a.jpg,dog")
    with pytest.raises(UserError, match="none of 1 images is there"):
        open_source(where)
    assert open_source(where, root=photos).count == 1


def test_size_of_another_picture_is_quarantined(photos):
    where = write(photos, "file,class,xmin,ymin,xmax,ymax,width,height", "a.jpg,cat,1,2,3,4,20,40")
    _, _, bad = layouts.entries(where)
    assert f"{where.removeprefix('csv:')}: size is for a picture of 40x20, this one has 20x40" in bad[0].reason


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("file,colour", "a.jpg,red"), "line 1: .* no column of the class"),
        (("what,class", "a.jpg,red"), "line 1: .* no column of the file"),
        (("file,class,class", "a.jpg,red,x"), "line 1: two columns have one name"),
        (("file,class,xmin,ymin", "a.jpg,red,1,2"), "line 1: .*which are no whole box"),
        (("file,class,bbox", 'a.jpg,cat,"[1, 2, 3, 4]"'), r"line 1: \['bbox'\] received, which are no whole box"),
        (("file,class,xtl,ytl,xbr,ybr", "a.jpg,cat,1,2,3,4"), "line 1: .*which are no whole box"),
        (("file,class,minx,maxx,miny,maxy", "a.jpg,cat,1,2,3,4"), "line 1: .*which are no whole box"),
        (("file,class,x_center,w", "a.jpg,cat,1,2"), "line 1: .*which are no whole box"),
        (("file,class",), "has no row"),
        (("file,class", "a.jpg"), "line 2: 1 cells; expected 2"),
        (("file,class", ",cat"), "line 2: no file"),
        (("file,class", "a.jpg,cat", "b.jpg,"), "line 3: no class for 'b.jpg'"),
        (("file,class", "a.jpg,cat", "a.jpg,dog"), "line 3: 'a.jpg' has two classes, 'cat' and 'dog'"),
        (("file,class,x,y,w,h", "a.jpg,cat,1,2,x,4"), r"line 2: box: \['1', '2', 'x', '4'\] received"),
        (("file,class,x,y,w,h", "a.jpg,cat,1,2,-3,4"), "line 2: box: .* expected sizes of 0 or more"),
        (("file,class,x,y,w,h", "a.jpg,cat,1,2,nan,4"), "line 2: box: .* received"),
        (("file,class,x,y,w,h", "a.jpg,,1,2,3,4", "b.jpg,cat,1,2,3,4"), "line 2: a box without a class"),
        (("file,class,xmin,ymin,xmax,ymax", "a.jpg,cat,9,2,3,4"), "line 2: box: .* expected sizes of 0 or more"),
        (
            ("file,class,xmin,ymin,xmax,ymax", "a.jpg,cat,0.1,0.2,0.3,0.4"),
            "bbox: all 1 boxes lie in .*: fractions of the image; expected corners in pixels",
        ),
        (
            ("file,class,xmin,ymin,xmax,ymax", "a.jpg,cat,0.1,0.2,0.3,0.4", "b.jpg,cat,-0.02,0,1,1.02"),
            "bbox: all 2 boxes lie in .*: fractions of the image",
        ),
        (("file,class", 'a.jpg,"cat'), "not valid CSV"),
        (("file,class", "x.jpg,cat"), "none of 1 images is there"),
    ],
)
def test_wrong_file_is_refused_naming_the_line(photos, rows, said):
    with pytest.raises(UserError, match=rf"pets\.csv: {said}") as caught:
        open_source(write(photos, *rows))
    assert "\n" not in str(caught.value)
