import numpy as np
import pytest

from must_tf.sources.rooms.textures import TEXTURES


@pytest.mark.parametrize("name", TEXTURES)
def test_texture_is_a_varying_weight_that_depends_on_the_position_alone(name: str) -> None:
    points = np.random.default_rng(0).uniform(-20, 20, (4000, 3)).astype(np.float32)
    weights = TEXTURES[name](points, points[:, :2])
    assert weights.shape == (4000,)
    assert weights.min() >= 0 and weights.max() <= 1 + 1e-6
    assert weights.std() > 0.01
    np.testing.assert_array_equal(TEXTURES[name](points[::-1], points[::-1, :2])[::-1], weights)
