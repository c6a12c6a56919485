import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
from labeled import BOXES, HEIGHT, STUFF, WIDTH
from skimage.measure import points_in_poly

from must_tf.sources.labelstudio import find_labelstudio
from must_tf.sources.lookup import NAMES


def tasks(out):
    """Returns the tasks by the name of their image's file."""
    content = json.loads((out / "tasks.json").read_text())
    return {unquote(one["data"]["image"]).partition("d=images/")[2]: one for one in content}


def test_pseudo_labels_are_predictions_and_human_ones_annotations(converted):
    out, _ = converted("labelstudio", tasks=("boxes", "scene"))
    found = tasks(out)
    assert set(found) == {"a.png", "night/b.png", "night/c d.png"}
    (prediction,) = found["a.png"]["predictions"]
    assert prediction["model_version"] == "det-1"
    assert [one["from_name"] for one in prediction["result"]] == ["boxes", "boxes"]
    assert [one["from_name"] for one in found["a.png"]["annotations"][0]["result"]] == ["scene"]
    assert found["night/b.png"]["predictions"] == []
    assert found["a.png"]["data"]["predicted"] == ["boxes"] and "predicted" not in found["night/b.png"]["data"]
    # As it is exported if nobody did anything: the labels by people come back, and no others.
    for task, names in {"boxes": {"night/b.png", "night/c d.png"}, "scene": set(found)}.items():
        back = find_labelstudio(f"{out}/tasks.json/{task}", root=NAMES)
        assert {unquote(path).partition("d=images/")[2] for path, _ in back.items} == names


def test_boxes_are_percent_of_the_image_with_scores(converted):
    out, done = converted("labelstudio", tasks=("boxes",))
    first, second = tasks(out)["a.png"]["predictions"][0]["result"]
    sides = [first["value"][key] for key in ("x", "y", "width", "height")]
    np.testing.assert_allclose(sides, np.array([2.25, 1.5, 17.75, 8.5]) / np.tile([WIDTH, HEIGHT], 2) * 100, rtol=1e-6)
    assert first["value"]["rectanglelabels"] == ["cat"] and first["score"] == 0.75
    assert (first["original_width"], first["original_height"], first["type"]) == (WIDTH, HEIGHT, "rectanglelabels")
    assert second["value"]["rectanglelabels"] == ["bird"]
    assert len(tasks(out)["night/c d.png"]["annotations"][0]["result"]) == 1
    assert "left out: difficult boxes: 1" in done.lines


def test_nothing_differs_from_no_label(converted, records):
    out, _ = converted("labelstudio", tasks=("boxes", "stuff"))
    found = tasks(out)
    assert found["night/b.png"]["data"]["labeled"] == ["boxes", "stuff"]
    assert found[f"{records[''].id}.png"]["data"]["labeled"] == ["stuff"]


def test_masks_are_polygons(converted, records):
    out, _ = converted("labelstudio", tasks=("stuff",))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    mask = np.full((HEIGHT, WIDTH), STUFF.ignore)
    for result in tasks(out)["a.png"]["annotations"][0]["result"]:
        outline = np.array(result["value"]["points"]) / 100 * (WIDTH, HEIGHT)
        inside = points_in_poly(np.stack([x.ravel(), y.ravel()], 1), outline).reshape(HEIGHT, WIDTH)
        mask[inside] = STUFF.class_names.index(result["value"]["polygonlabels"][0])
    assert np.array_equal(mask, records["a.png"].labels["stuff"])


def test_the_config_has_a_control_per_task_that_results_name(converted):
    out, _ = converted("labelstudio")
    view = ElementTree.parse(out / "config.xml").getroot()
    controls = {element.get("name"): element for element in view if element.tag != "Image"}
    assert {name: element.tag for name, element in controls.items()} == {
        "boxes": "RectangleLabels", "stuff": "PolygonLabels", "scene": "Choices", "tags": "Choices",
    }  # fmt: skip
    assert [one.get("value") for one in controls["boxes"]] == list(BOXES.class_names)
    assert controls["tags"].get("choice") == "multiple" and controls["scene"].get("choice") is None
    for one in tasks(out).values():
        for part in (*one["annotations"], *one["predictions"]):
            for result in part["result"]:
                control = controls[result["from_name"]]
                assert control.tag.lower() == result["type"]
                known = {child.get("value") for child in control}
                assert set(result["value"][result["type"]]) <= known
