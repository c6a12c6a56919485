"""Fixtures: tiny models of each architecture, saved once; no hub is reached."""

import numpy as np
import pytest

SIZES = ((60, 90), (90, 60), (48, 48), (60, 90))


@pytest.fixture(scope="session", autouse=True)
def offline():
    """Keeps the hub's client from the network; it reads the variable as it is imported."""
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A function that saves the model of a name once, `saved("detr")`, and returns its folder."""
    import hf_models

    root, folders = tmp_path_factory.mktemp("hf"), {}

    def save(name, **fields):
        key = name + "".join(f"-{field}" for field in fields.values())
        if key not in folders:
            folders[key] = getattr(hf_models, name)(root / key, **fields)
        return folders[key]

    return save


@pytest.fixture(scope="session")
def images():
    """Images of three sizes, two of them of one size; uint8 [height, width, 3]."""
    import hf_models

    return [hf_models.image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


@pytest.fixture
def label_all():
    """A function that labels images with a teacher in one batch of mixed sizes, as `must label` does."""

    def label(teacher, images):
        found = teacher.predict([teacher.view(image, image.shape[:2]) for image in images], len(images))
        assert all(np.isfinite(values).all() for outputs in found for values in outputs.values())
        return [teacher.label(outputs, *image.shape[:2]) for outputs, image in zip(found, images, strict=True)]

    return label
