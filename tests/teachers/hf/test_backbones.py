"""Backbones of transformers as teachers: their grids and global vectors are those of transformers itself."""

import shutil

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import open_dataset
from must_tf.tasks.features.projection import Projection

hf_models = pytest.importorskip("hf_models")
torch, t = hf_models.torch, hf_models.transformers
NAMES = ("dinov2", "dinov2_registers", "dinov3", "vit_backbone", "clip", "siglip", "sam")
FIELDS = {"task": "features", "components": 4}


def own(name, folder, image):
    """Returns grid and global vector by the model's documented use; of SAM, the grid with its padding."""
    config = {"clip": t.CLIPModel, "siglip": t.SiglipModel, "sam": t.SamModel}
    model = config.get(name, t.AutoModel).from_pretrained(folder).eval()
    inputs = t.AutoImageProcessor.from_pretrained(folder)(images=Image.fromarray(image), return_tensors="pt")
    with torch.inference_mode():
        if name == "sam":
            return model.get_image_embeddings(inputs["pixel_values"])[0].permute(1, 2, 0).numpy(), None
        found = getattr(model, "vision_model", model)(inputs["pixel_values"])
    prefix = {"dinov2_registers": 1 + 3, "dinov3": 1 + 3, "siglip": 0}.get(name, 1)
    side = int((found.last_hidden_state.shape[1] - prefix) ** 0.5)
    return found.last_hidden_state[0, prefix:].reshape(side, side, -1).numpy(), found.pooler_output[0].numpy()


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_transformers_where_the_image_is(name, saved, images):
    teacher = toy.load("t", f"hf:{saved(name)}", fields=FIELDS)
    for image in images:
        height, width = image.shape[:2]
        (outputs,) = teacher.predict([teacher.view(image)], 1)
        found = teacher.label(outputs, height, width)
        grid, summary = own(name, saved(name), image)
        rows, columns = found["grid"].shape[:2]
        np.testing.assert_allclose(found["grid"], grid[:rows, :columns], rtol=1e-4, atol=1e-5)
        ymin, xmin, ymax, xmax = found["extent"]
        if name == "sam":  # padded at the bottom and at the right; a cell is 8 pixels of 64
            seen = np.array([height, width]) / max(height, width) * 8
            np.testing.assert_allclose((rows / ymax, columns / xmax), seen, atol=0.13)
            np.testing.assert_allclose(
                found["summary"], grid[: round(seen[0]), : round(seen[1])].mean((0, 1)), atol=0.3
            )
        else:
            np.testing.assert_allclose(found["summary"], summary, rtol=1e-4, atol=1e-5)
        if name in ("siglip", "vit_backbone"):  # stretched
            np.testing.assert_allclose(found["extent"], [0, 0, 1, 1])
        elif name != "sam":  # the center, a square
            shown = (ymax - ymin) * height, (xmax - xmin) * width
            assert shown[0] == pytest.approx(shown[1], rel=0.06)
            assert ymin + ymax == pytest.approx(1, abs=0.03) and xmin + xmax == pytest.approx(1, abs=0.03)


def test_the_class_token_is_the_global_vector_of_a_model_without_a_pooler(saved, images, tmp_path):
    folder = shutil.copytree(saved("vit_backbone"), tmp_path / "dino")
    t.ViTModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(folder)
    teacher = toy.load("t", f"hf:{folder}", fields=FIELDS)
    (outputs,) = teacher.predict([teacher.view(images[0])], 1)
    model = t.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    inputs = t.AutoImageProcessor.from_pretrained(folder)(images=Image.fromarray(images[0]), return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**inputs).last_hidden_state[0].numpy()
    np.testing.assert_allclose(outputs["summary"], tokens[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["grid"].reshape(-1, len(tokens[0])), tokens[1:], rtol=1e-4, atol=1e-5)


def test_photographs_are_labeled_with_components_that_are_fitted_first(saved, images, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    (teacher,) = toy.load_all([f"dino=hf:{saved('dinov2')}"], fields={"dino": {"components": 4}})
    manifest = label(tmp_path / "photos", [teacher], tmp_path / "out")
    (task,), (told,) = manifest.tasks, manifest.teachers.values()
    fitted = Projection.from_json("dino.fitted.npz", tmp_path / "out" / "manifest.json")
    assert (task.channels, task.summary, task.projection) == (4, 16, fitted.sha256)
    assert told["card"]["projection"] == fitted.to_json() and fitted.model == told["sha256"]
    assert "dino: 4 principal components of 16 channels, fitted on 4 images, keep" in capsys.readouterr().out
    assert manifest.counts == {"dino": {next(iter(manifest.teachers)): 4}} and not manifest.quarantined
    labels = [record.labels["dino"] for record in open_dataset(tmp_path / "out").records()]
    assert all(one["grid"].shape == (4, 4, 4) and np.isfinite(one["grid"]).all() for one in labels)
    lengths = np.square([one["grid"] for one in labels]).mean()
    assert lengths == pytest.approx(1, abs=0.1)


def test_what_a_model_is_used_for_is_the_users_choice(saved):
    drafted = toy.describe(f"hf:{saved('sam')}")
    assert "task: features" in drafted and "pixel" not in drafted.split("no card")[1]
    with pytest.raises(UserError, match="prompts: not given; CLIPModel finds what a text says"):
        toy.load("t", f"hf:{saved('clip')}")
    with pytest.raises(UserError, match="task: 'features' received; DetrForObjectDetection is a model of detection"):
        toy.load("t", f"hf:{saved('detr')}", fields=FIELDS)
