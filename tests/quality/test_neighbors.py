import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.quality.neighbors import RADIUS, Hashes, nearest


def flipped(bits, number, rng):
    """Returns a hash [2] with so many of its bits changed."""
    changed = bits.copy()
    for bit in rng.choice(128, number, replace=False):
        changed[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return changed


def crowded(rng, count, boundary):
    """Returns hashes of images around a few centers, and of mirror images, which are as far from each other."""
    centers = rng.integers(0, 2**64, (3, 2), dtype=np.uint64)
    centers = np.concatenate([centers, centers[:, ::-1]])
    plain = np.stack([flipped(centers[rng.integers(6)], rng.integers(9), rng) for _ in range(count)])
    turned = np.arange(count) >= boundary
    bits = np.concatenate([plain, plain[turned, ::-1]])
    images = np.concatenate([np.arange(count), np.flatnonzero(turned)])
    return Hashes(bits, images, np.arange(len(images)) >= count, boundary)


def by_force(hashes, num_images):
    """Returns {image: (bits, mirrored, earlier)} of all pairs, compared one by one."""
    found = {}
    for one in range(len(hashes.images)):
        for other in range(len(hashes.images)):
            later, earlier = hashes.images[one], hashes.images[other]
            sides = later >= hashes.boundary > earlier if hashes.boundary else later > earlier
            if not sides or (hashes.mirrored[one] and hashes.mirrored[other]):
                continue
            distance = sum(int(a ^ b).bit_count() for a, b in zip(hashes.bits[one], hashes.bits[other], strict=True))
            entry = (distance, bool(hashes.mirrored[one] or hashes.mirrored[other]), int(earlier))
            if distance <= RADIUS:
                found[int(later)] = min(found.get(int(later), (999,)), entry)
    return found


@pytest.mark.parametrize("boundary", [0, 12])
@given(st.integers(0, 10**6))
def test_all_near_pairs_are_found_and_the_nearest_is_told(boundary, seed):
    hashes = crowded(np.random.default_rng(seed), 25, boundary)
    found = nearest(hashes, 25)
    rows = zip(found.distance.tolist(), found.mirrored.tolist(), found.earlier.tolist(), strict=True)
    expected = by_force(hashes, 25)
    assert found.images.tolist() == sorted(expected)
    for image, (distance, _, earlier) in zip(found.images.tolist(), rows, strict=True):
        assert distance == expected[image][0] and earlier < image


@pytest.mark.parametrize("distance", [0, 1, RADIUS, RADIUS + 1])
def test_the_radius_is_exact(distance):
    rng = np.random.default_rng(distance)
    one = rng.integers(0, 2**64, (40, 2), dtype=np.uint64)
    bits = np.concatenate([one, np.stack([flipped(hash, distance, rng) for hash in one])])
    found = nearest(Hashes(bits, np.arange(80), np.zeros(80, bool)), 80)
    assert found.images.tolist() == (list(range(40, 80)) if distance <= RADIUS else [])
    assert found.earlier.tolist() == [image - 40 for image in found.images]


def test_no_hashes_have_no_neighbors():
    nothing = Hashes(np.zeros((0, 2), np.uint64), np.zeros(0, np.int64), np.zeros(0, bool))
    assert not nearest(nothing, 3).images.size
