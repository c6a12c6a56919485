import numpy as np
import pytest
import tensorflow as tf
import toy
from official.vision.ops import augment as garden
from PIL import Image, ImageEnhance, ImageOps

from must_tf.pipeline.randaugment import (
    OPERATIONS,
    autocontrast,
    brightness,
    color,
    contrast,
    equalize,
    posterize,
    rand_augment,
    sharpness,
    solarize,
)

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (48, 80, 3), np.uint8)
DULL = np.clip(RNG.normal((90, 120, 150), 20, (33, 64, 3)), 0, 255).astype(np.uint8)
IMAGES = [NOISE, DULL, toy.random_image(RNG, 32, 32), np.full((5, 5, 3), 77, np.uint8)]
IMAGES += [NOISE[:height, :width] for height, width in ((1, 1), (1, 5), (2, 1), (2, 2))]

# Arguments at magnitudes 0 to 10, here and in Model Garden.
FACTORS = [np.float32(factor) for factor in np.linspace(0.1, 1.9, 21)]
OF_PILLOW = {
    "AutoContrast": (lambda image: autocontrast(image), ImageOps.autocontrast, [()]),
    "Equalize": (lambda image: equalize(image), ImageOps.equalize, [()]),
    "Posterize": (posterize, ImageOps.posterize, [(bits,) for bits in range(1, 9)]),
    "Solarize": (solarize, ImageOps.solarize, [(threshold,) for threshold in range(0, 257, 16)]),
} | {
    name: (op, lambda image, factor, of=of: of(image).enhance(factor), [(factor,) for factor in FACTORS])
    for name, op, of in (
        ("Color", color, ImageEnhance.Color),
        ("Contrast", contrast, ImageEnhance.Contrast),
        ("Brightness", brightness, ImageEnhance.Brightness),
        ("Sharpness", sharpness, ImageEnhance.Sharpness),
    )
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_that_of_pillow(name):
    ours, of_pillow, arguments = OF_PILLOW[name]
    for image in IMAGES:
        for given in arguments:
            expected = np.asarray(of_pillow(Image.fromarray(image), *given))
            np.testing.assert_array_equal(ours(tf.constant(image), *given), expected, str((image.shape, given)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_that_of_model_garden(name):
    ours, _, arguments = OF_PILLOW[name]
    images = [image for image in IMAGES if min(image.shape[:2]) > 2]
    arguments = [given for given in arguments if given != (256,)]  # which overflows there
    if name == "Contrast":  # in Model Garden it is around the mean of each channel
        images = [np.repeat(NOISE[..., :1], 3, -1)]
    most = {"AutoContrast": 1, "Color": 2, "Contrast": 2, "Sharpness": 2}.get(name, 0)  # it rounds otherwise
    for image in images:
        for given in arguments:
            expected = garden.NAME_TO_FUNC[name](tf.constant(image), *given).numpy().astype(int)
            assert np.abs(ours(tf.constant(image), *given).numpy() - expected).max() <= most, (image.shape, given)


def change(name, magnitude, sign=1.0, image=DULL):
    return OPERATIONS[name](tf.constant(image), tf.constant(sign * magnitude / 10)).numpy().astype(int)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("AutoContrast", "Equalize")])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_strength_grows_with_the_magnitude_from_nothing(name, sign):
    sums = [np.abs(change(name, magnitude, sign) - DULL).sum() for magnitude in (0, 3, 6, 10)]
    assert sums[0] == 0 and sums == sorted(sums) and sums[3] > sums[1]


def test_operations_at_the_largest_magnitude_are_those_of_model_garden():
    for name in ("Posterize", "Solarize", "Color", "Brightness", "Sharpness"):
        func, _, arguments = garden._parse_policy_info(name, 1.0, 10.0, [128] * 3, 40.0, 100.0)
        expected = func(tf.constant(DULL), None, *arguments)[0].numpy().astype(int)
        assert np.abs(change(name, 10) - expected).max() <= 2, name


def apply(num_ops, magnitude, number):
    return rand_augment(tf.constant(NOISE), num_ops, magnitude, tf.constant([0, number], tf.int64)).numpy()


def test_one_operation_is_drawn_from_all_and_none():
    expected = {NOISE.tobytes()}
    for name in OPERATIONS:
        expected |= {change(name, 7, sign, NOISE).astype(np.uint8).tobytes() for sign in (1.0, -1.0)}
    assert {apply(1, 7.0, number).tobytes() for number in range(150)} == expected


def test_several_operations_follow_one_another():
    some, same, other = (apply(3, 9.0, number) for number in (4, 4, 5))
    assert (some == same).all() and (some != other).any()
    np.testing.assert_array_equal(apply(0, 9.0, 4), NOISE)
