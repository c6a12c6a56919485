"""Exports of Label Studio: what people submitted becomes labels, and what cannot be read is named."""

import json

import layouts
import numpy as np
import pytest
from skimage.measure import points_in_poly

from must_tf.errors import UserError
from must_tf.sources import open_source
from must_tf.sources.polygons import inside

HEIGHT, WIDTH = 20, 40
CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="boxes" toName="image"><Label value="dog"/><Label value="cat"/></RectangleLabels>
<PolygonLabels name="stuff" toName="image"><Label value="sky"/><Label value="grass"/></PolygonLabels>
<Choices name="tags" toName="image" choice="multiple"><Choice value="wet"/><Choice value="dark"/></Choices></View>"""


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate("abcd"):
        layouts.write_jpeg(tmp_path / "images" / f"{name}.jpg", HEIGHT, WIDTH, number)
    return tmp_path


def result(kind, name, more=(), **value):
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": "r1", "from_name": name, "to_name": "image", "type": kind, "value": value} | size | dict(more)


def box(cls="cat", x=25, y=25, width=25, height=50, rotation=0, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": [cls]}
    return result("rectanglelabels", "boxes", more, **value)


def polygon(cls, points):
    return result("polygonlabels", "stuff", points=points, closed=True, polygonlabels=[cls])


def task(name, *annotations, number=1, **data):
    predictions = [annotation(box(), model_version="det-1")]
    return {"id": number, "annotations": annotations, "predictions": predictions, "data": {"image": name} | data}


def annotation(*results, canceled=False, **more):
    return {"id": 5, "completed_by": 1, "result": results, "was_cancelled": canceled, "ground_truth": False} | more


def write(photos, *tasks, config=""):
    (photos / "export.json").write_text(json.dumps(tasks))
    if config:
        (photos / "config.xml").write_text(config)
    return f"labelstudio:{photos}/export.json"


def test_what_was_submitted_counts(photos):
    where = write(
        photos,
        task("a.jpg", annotation(box(), box("dog", 0, 0, 100, 100))),
        task("b.jpg", annotation()),  # everything was deleted
        task("c.jpg", annotation(box(), canceled=True)),
        task("d.jpg"),  # has predictions alone
    )
    found, records, bad = layouts.entries(where)
    assert (found.name, found.kind, found.class_names) == ("boxes", "detection", ("cat", "dog")) and not bad
    assert records.keys() == {"a.jpg", "b.jpg"}
    label = records["a.jpg"].labels["boxes"]
    np.testing.assert_allclose(label["boxes"], [[0.25, 0.25, 0.75, 0.5], [0, 0, 1, 1]], atol=1e-6)
    assert label["classes"].tolist() == [0, 1] and len(records["b.jpg"].labels["boxes"]["boxes"]) == 0
    assert open_source(where).warnings == (f"{photos}/export.json: 2 tasks without a submitted annotation: left out",)


@pytest.mark.parametrize(
    "name",
    [
        "/data/upload/1/0a1b2c3d-a.jpg", "/data/local-files/?d=images/a.jpg", "/data/local-files/?d=x%20y/a.jpg",
        "s3://bucket/x/a.jpg", "https://host/images/a.jpg?token=1",
    ],
)  # fmt: skip
def test_images_are_found_wherever_label_studio_keeps_them(photos, name):
    _, records, _ = layouts.entries(write(photos, task(name, annotation(box()))))
    assert records.keys() == {"a.jpg"}


def test_images_are_found_in_label_studio_s_own_folder(photos):
    """Uploads of one name are told apart there."""
    media = photos / "media/upload/1"
    media.mkdir(parents=True)
    names = ("0a1b2c3d-a.jpg", "ffffffff-a.jpg")
    for name, old in zip(names, "bc", strict=True):
        (photos / "images" / f"{old}.jpg").rename(media / name)
    for old in "ad":
        (photos / "images" / f"{old}.jpg").unlink()
    where = write(photos, *(task(f"/data/upload/1/{name}", annotation(box())) for name in names))
    _, records, bad = layouts.entries(where, root=photos / "media")
    assert records.keys() == set(names) and not bad
    with pytest.raises(UserError, match=r"image '/data/upload/1/a\.jpg' has two tasks"):
        open_source(where)


def test_one_of_several_annotations_counts(photos):
    old, new = (annotation(box(x=x), updated_at=f"2024-01-0{x}T00:00:00Z") for x in (1, 2))
    where = write(
        photos,
        task("a.jpg", new, old),
        task("b.jpg", annotation(box(x=3), ground_truth=True), new),
        task("c.jpg", annotation(box(x=4)), annotation(box(x=5))),  # without times: the order of the list
    )
    _, records, _ = layouts.entries(where)
    assert [round(records[f"{name}.jpg"].labels["boxes"]["boxes"][0][1] * 100) for name in "abc"] == [2, 3, 5]
    (said,) = open_source(where).warnings
    assert "2 tasks with several annotations: the last one is taken" in said


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, 200, 300.5, 360])
def test_rotated_boxes_become_the_boxes_around_them(photos, degrees):
    """Label Studio turns them about their upper left corner, clockwise, in pixels."""
    where = write(photos, task("a.jpg", annotation(box(x=50, y=50, width=25, height=10, rotation=degrees))))
    task_of, records, _ = layouts.entries(where)
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [10, 0], [10, 2], [0, 2]]) @ matrix.T + [20, 10]
    (xmin, ymin), (xmax, ymax) = corners.min(0), corners.max(0)
    found = records["a.jpg"].labels[task_of.name]["boxes"] * [HEIGHT, WIDTH, HEIGHT, WIDTH]
    np.testing.assert_allclose(found, [[ymin, xmin, ymax, xmax]], atol=1e-5)
    told = [line for line in open_source(where).warnings if "1 rotated boxes of 'boxes'" in line]
    assert bool(told) == (degrees not in (0, 360))


def test_config_lists_the_classes_and_no_label_is_not_nothing(photos):
    tags = result("choices", "tags", dict.fromkeys(("original_width", "original_height")), choices=["dark"])
    where = write(
        photos,
        task("a.jpg", annotation(box(), tags)),
        task("b.jpg", annotation(), labeled=["tags"]),  # all tags were taken off; it had no boxes
        task("c.jpg", annotation(), labeled=["boxes"]),
        task("d.jpg", annotation()),
        config=CONFIG,
    )
    boxes, records, _ = layouts.entries(f"{where}/boxes")
    assert boxes.class_names == ("dog", "cat") and records.keys() == {"a.jpg", "c.jpg", "d.jpg"}
    assert records["a.jpg"].labels["boxes"]["classes"].tolist() == [1]
    found, records, _ = layouts.entries(f"{where}/tags")
    assert found.multi_label and found.class_names == ("wet", "dark") and records.keys() == {"a.jpg", "b.jpg"}
    assert records["a.jpg"].labels["tags"].tolist() == [0, 1] and not records["b.jpg"].labels["tags"].any()
    assert any("2 tasks without a label of 'tags': left out" in line for line in open_source(f"{where}/tags").warnings)


@pytest.mark.parametrize("inside", ["<View>{}</View>", "<View><Header value='Which?'/>{}</View>", "{}"])
def test_classes_of_a_config_may_stand_in_a_view(photos, inside):
    """Without `dark`, which no image has, every class would have another number."""
    options = "".join(f'<Choice value="{name}"/>' for name in ("wet", "dark", "dry"))
    config = f"<View><Choices name='tags' toName='image'>{inside.format(options)}</Choices></View>"
    tags = (result("choices", "tags", choices=[name]) for name in ("dry", "wet"))
    where = write(photos, *(task(f"{name}.jpg", annotation(tag)) for name, tag in zip("ab", tags, strict=True)),
                  config=config)  # fmt: skip
    found, records, _ = layouts.entries(where)
    assert found.class_names == ("wet", "dark", "dry") and not found.multi_label
    assert {name: record.labels["tags"] for name, record in records.items()} == {"a.jpg": 2, "b.jpg": 0}


def test_two_choices_where_one_is_expected_are_named(photos):
    one, other = (result("choices", "weather", choices=[name]) for name in ("wet", "dry"))
    where = write(photos, task("a.jpg", annotation(one, other)), task("b.jpg", annotation(one, one)))
    _, records, (bad,) = layouts.entries(where)
    assert records.keys() == {"b.jpg"} and "choices ['wet', 'dry'], expected one" in bad.reason


def test_polygons_become_a_mask_and_the_later_one_counts(photos):
    whole, left = [[0, 0], [100, 0], [100, 100], [0, 100]], [[0, 0], [50, 0], [50, 50], [0, 50]]
    where = write(photos, task("a.jpg", annotation(polygon("sky", whole), polygon("grass", left))),
                  task("b.jpg", annotation(polygon("grass", left))))  # fmt: skip
    found, records, _ = layouts.entries(where)
    mask = np.full((HEIGHT, WIDTH), found.class_names.index("sky"))
    mask[:10, :20] = found.class_names.index("grass")
    assert np.array_equal(records["a.jpg"].labels["stuff"], mask)
    assert np.array_equal(records["b.jpg"].labels["stuff"] == -1, mask == found.class_names.index("sky"))


@pytest.mark.parametrize("seed", range(5))
def test_pixels_in_a_polygon_are_those_that_scikit_image_finds(seed):
    corners = np.random.default_rng(seed).uniform(-5, 45, (7, 2))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = points_in_poly(np.stack([x.ravel(), y.ravel()], 1), corners).reshape(HEIGHT, WIDTH)
    assert np.array_equal(inside(corners, HEIGHT, WIDTH), expected)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (annotation(box(rotation="30")), "task 1, result 'r1': rotation: '30' received; expected degrees"),
        (
            annotation(box(rotation=30) | {"original_width": None, "original_height": None}),
            "original_width: null received; expected pixels of the image, which a rotated",
        ),
        (annotation(box(image_rotation=90)), "image_rotation: 90 received; expected 0: turn the image"),
        (annotation(box(width=None)), "result 'r1': width: null received; expected a number, in percent"),
        (annotation(box(width=-1)), r"width: -1\.0 received; expected 0 or more"),
        (annotation(box(""), ), r"rectanglelabels: \[''\] received; expected names of classes"),
        (annotation(polygon("sky", [[0, 0], [1, 1]])), "points: .* expected three points or more"),
        (annotation(result("brushlabels", "paint", rle=[1])), "'paint' \\(brushlabels\\); .*; export masks of brushes"),
        (annotation(box(original_width=None)), "original_width: null received; expected pixels"),
        (annotation(box(), polygon("sky", [[0, 0], [1, 1], [0, 1]])), "controls boxes, stuff; name one: .*json/boxes"),
        (annotation(box(), box(original_width=20)), r"original_width: \(20, 20\) received; expected .* \(20, 40\)"),
        (annotation(box(x=0.2, y=0, width=0.5, height=1)), r"all places lie in \[0, 1\]: .*; expected percent"),
        (annotation(canceled=True), "has no result; .* put the interface beside it"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line(photos, one, said):
    with pytest.raises(UserError, match=said) as error:
        open_source(write(photos, task("a.jpg", one)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": 1}, "expected Label Studio's export as JSON: a list"),
        ([{"image": "a.jpg", "id": 3, "boxes": []}], "task 3: data is missing; expected one of a task: .* JSON_MIN"),
        ([task("", annotation(box()))], "data: .* expected a field 'image'"),
        ([task("\ud800.jpg", annotation(box()))], "data: .* expected a field 'image'"),
        ([task("a.jpg", annotation(box()))] * 2, "image 'a.jpg' has two tasks"),
    ],
)
def test_what_is_no_export_is_refused(photos, content, said):
    (photos / "export.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        open_source(f"labelstudio:{photos}/export.json")


def test_a_label_of_another_picture_is_quarantined(photos):
    wrong = box(original_width=20, original_height=20)
    _, records, (bad,) = layouts.entries(write(photos, task("a.jpg", annotation(wrong)), task("b.jpg", annotation())))
    assert f"{photos}/export.json: size is for a picture of 20x20" in bad.reason
    assert records.keys() == {"b.jpg"}


def test_choices_of_regions_are_no_classes_of_images(photos):
    region = result("choices", "pose", x=1, y=1, width=5, height=5, choices=["up"])
    where = write(photos, task("a.jpg", annotation(box(), region)))
    (found,) = open_source(where).tasks
    assert found.name == "boxes" and "'pose' (choices of regions) is not read" in open_source(where).warnings[0]
