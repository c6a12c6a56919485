import dataclasses
import hashlib
import multiprocessing
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("embreex")

from must_tf.sources.rooms import CATALOG, MIN_MAIN, PARTS, WORLDS, Sample, film, render
from must_tf.sources.rooms.catalog import STRUCTURE

SIZE = 64


@pytest.fixture(scope="module", params=WORLDS)
def samples(request: pytest.FixtureRequest) -> list[Sample]:
    return [render(WORLDS[request.param], 0, index, SIZE) for index in range(10)]


def _fingerprint(index: int) -> str:
    sample = render(WORLDS["downstream_detection"], 7, index, 32)
    arrays = (sample.image, sample.depth, sample.normals, sample.instances, sample.parts)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_sample_depends_on_its_arguments_alone() -> None:
    forward = [_fingerprint(index) for index in range(4)]
    backward = [_fingerprint(index) for index in reversed(range(4))]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.map(_fingerprint, range(4))
    assert forward == backward[::-1] == elsewhere
    assert len(set(forward)) == 4


def test_seeds_and_worlds_give_different_images() -> None:
    pictures = [render(WORLDS[name], seed, 0, 32).image for name in ("detection", "segmentation") for seed in (0, 1)]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_shapes_and_types(samples: list[Sample]) -> None:
    for sample in samples:
        assert (sample.image.shape, sample.image.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert (sample.depth.shape, sample.depth.dtype) == ((SIZE, SIZE), np.float32)
        assert (sample.normals.shape, sample.normals.dtype) == ((SIZE, SIZE, 3), np.float32)
        assert (sample.instances.shape, sample.instances.dtype) == ((SIZE, SIZE), np.int32)
        assert (sample.parts.shape, sample.parts.dtype) == ((SIZE, SIZE), np.uint8)


def test_every_ray_hits_a_surface_at_a_plausible_depth(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.depth.min() > 0.1 and sample.depth.max() < 15


def test_images_are_neither_dark_nor_overexposed(samples: list[Sample]) -> None:
    for sample in samples:
        assert 60 < sample.image.mean() < 215
        assert sample.image.std() > 10
        assert (sample.image == 255).all(-1).mean() < 0.25


def test_main_object_is_visible(samples: list[Sample]) -> None:
    for sample in samples:
        assert 1 <= sample.main <= len(sample.objects)
        assert (sample.instances == sample.main).mean() >= MIN_MAIN


def test_instances_and_parts_agree(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.instances.min() >= 0 and sample.instances.max() <= len(sample.objects)
        for instance in np.unique(sample.instances):
            parts = {PARTS[part] for part in np.unique(sample.parts[sample.instances == instance])}
            if instance == 0:
                assert parts <= set(STRUCTURE)
            else:
                assert parts == {CATALOG[sample.objects[instance - 1]].part}


def test_normals_have_unit_length_and_face_the_camera(samples: list[Sample]) -> None:
    for sample in samples:
        np.testing.assert_allclose(np.linalg.norm(sample.normals, axis=-1), 1, atol=1e-5)
        assert (np.sum(_rays(sample) * sample.normals, axis=-1) <= 1e-6).all()


def test_normals_agree_with_planes_fitted_to_the_depth(samples: list[Sample]) -> None:
    compared = 0
    for sample in samples:
        points = _rays(sample) * sample.depth[..., None].astype(float)
        for part in ("floor", "wall", "ceiling"):
            for normal in np.unique(sample.normals[sample.parts == PARTS.index(part)].round(4), axis=0):
                flat = (sample.parts == PARTS.index(part)) & (np.abs(sample.normals - normal) < 2e-4).all(-1)
                spread = points[flat] - points[flat].mean(0)
                if flat.sum() < 300:
                    continue
                fitted = np.linalg.svd(spread, full_matrices=False)[2][2]
                assert abs(fitted @ normal) > 0.9999
                assert np.abs(spread @ normal).max() < 2e-3
                compared += 1
    assert compared > len(samples)


def test_film_swings_around_the_main_object_and_begins_with_the_image() -> None:
    world, angles = WORLDS["detection"], [0, 0.2, 2 * np.pi]
    image, (first, turned, whole) = render(world, 1, 90, 48), film(world, 1, 90, 48, angles)
    for field in dataclasses.fields(Sample):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(image, field.name))
    assert (turned.image != image.image).any(-1).mean() > 0.5
    assert (turned.instances == turned.main).mean() >= MIN_MAIN and turned.objects == image.objects
    assert (whole.instances == image.instances).mean() > 0.99


def test_classes_are_balanced() -> None:
    world = WORLDS["classification"]
    count = Counter(_main_category(index) for index in range(300))
    expected = 300 / len(world.categories)
    assert set(count) == set(world.categories)
    chi_squared = sum((n - expected) ** 2 / expected for n in count.values())
    assert chi_squared < 36.1  # p = 0.001 at 14 degrees of freedom


def _main_category(index: int) -> str:
    sample = render(WORLDS["classification"], 3, index, 16)
    return sample.objects[sample.main - 1]


def _rays(sample: Sample) -> np.ndarray:
    """Returns the ray of each pixel in the camera's frame, [SIZE, SIZE, 3], of length 1 along the optical axis."""
    grid = (np.arange(SIZE) + 0.5 - SIZE / 2) / sample.focal
    return np.stack([*np.meshgrid(grid, grid), np.ones((SIZE, SIZE))], -1)
