"""What lies in the folder in which the blocks of a page run: small images, records, a run, an export, models."""

import dataclasses
import shutil

import numpy as np
import pages
import pytest
import toy
from PIL import Image


@pytest.fixture
def things(toy_data, toy_run, tmp_path_factory):
    """Functions by name that put something into a folder; a page names those that it needs."""

    def photos(folder):
        rng = np.random.default_rng(0)
        (folder / "photos").mkdir()
        for i in range(10):
            Image.fromarray(toy.random_image(rng, 96, 128)).save(folder / "photos" / f"{i}.jpg")

    def animals(folder):
        rng = np.random.default_rng(1)
        for split in ("train", "test"):
            for name in ("cats", "dogs"):
                place = folder / "animals" / split / name
                place.mkdir(parents=True)
                for i in range(10):
                    Image.fromarray(toy.random_image(rng, 64, 64)).save(place / f"{split}{i}.png")

    def records(folder):
        (folder / "data").mkdir()
        (folder / "data" / "records").symlink_to(toy_data)

    def labeled(folder):
        boxes = [dataclasses.replace(toy.THINGS, name="boxes")]
        for seed, name in enumerate(("photos", "test")):
            toy.write_dataset(folder / "data" / name, toy.toy_records(12, seed, boxes), boxes)

    def run(folder):
        (folder / "runs").mkdir()
        shutil.copytree(toy_run, folder / "runs" / "student")

    def export(folder):
        from must_tf.export import export

        export(toy_run, folder / "exports" / "photos", formats=("savedmodel", "keras", "tf_keras", "garden"))
        animals(folder)

    def hf(folder):
        import hf_models

        (folder / "models").mkdir()
        hf_models.rt_detr(folder / "models" / "boxes")
        hf_models.depth_anything(folder / "models" / "depth")
        hf_models.owlv2(folder / "models" / "owlv2")
        hf_models.dinov2(folder / "models" / "dinov2")
        hf_models.mask2former(folder / "models" / "mask2former")

    def onnx(folder):
        import onnx_model

        photos(folder)
        logits = np.random.default_rng(0).normal(0, 3, (1, 3, 320, 320)).astype(np.float32)
        onnx_model.save(folder / "unet.onnx", (1, 3, 320, 320), logits=logits)

    def transfer(folder):
        (folder / "transfer").mkdir()
        published = pages.ROOT / "experiments" / "rooms" / "results" / "replication" / "tables" / "table2.json"
        shutil.copy(published, folder / "transfer" / "transfer.json")

    made = (transfer, labeled, photos, animals, records, run, export, hf, onnx)
    return {function.__name__: function for function in made}
