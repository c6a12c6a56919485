"""TCMonoDepth's network agrees with its modules written in PyTorch's functions, on weights that the test makes up."""

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.experiments.photos import tcmonodepth


def tensors_of(model, rng):
    """Returns random weights in PyTorch's layout, with those of training that the network leaves out."""
    found = {}
    for layer in model.layers:
        for name, value in zip(("weight", "bias", "running_mean", "running_var"), layer.get_weights(), strict=False):
            value = rng.uniform(0.5, 1.0, value.shape) if value.ndim == 1 else rng.normal(0, 0.2, value.shape)
            if value.ndim == 4:
                value = value.transpose((2, 3, 0, 1) if "depthwise" in type(layer).__name__.lower() else (3, 2, 0, 1))
            found[f"{layer.name}.{name}"] = value.astype("f4")
    blocks = {name: value for name, value in found.items() if name.startswith("encoder.features.0.")}
    copies = {name.replace("features", "stage1"): value for name, value in blocks.items()}
    return found | copies | {"decoder.final2.0.weight": np.zeros(1), "a.num_batches_tracked": np.zeros(())}


@pytest.fixture(scope="module")
def tensors():
    return tensors_of(tcmonodepth.build(), np.random.default_rng(0))


def saved(tensors, folder):
    path = folder / "weights.npz"
    np.savez(path, **tensors)
    return path


def test_network_agrees_with_pytorch(tensors, tmp_path):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(1).random((2, 32, 48, 3), np.float32)
    weights = {name: torch.from_numpy(np.asarray(value, "f4")) for name, value in tensors.items()}
    with torch.no_grad():
        expected = reference(torch, weights, torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    found = tcmonodepth.load(saved(tensors, tmp_path)).predict(images, verbose=0)
    assert found.shape == (2, 32, 48, 1) and expected.std() > 0
    np.testing.assert_allclose(found[..., 0], expected[:, 0], rtol=1e-3, atol=1e-4 * abs(expected).max())


def test_saved_network_is_a_teacher_and_has_the_published_number_of_weights(tensors, tmp_path):
    from must_tf.teachers.keras import KerasFile

    model = tcmonodepth.load(saved(tensors, tmp_path))
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 184_765
    model.save(tmp_path / "depth.keras")
    images = np.random.default_rng(1).random((1, 64, 64, 3), np.float32)
    (output,) = KerasFile(str(tmp_path / "depth.keras")).predict(images).values()
    np.testing.assert_allclose(output, model.predict(images, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.final.bias": None}, "no array 'decoder.final.bias'"),
        ({"more.weight": np.zeros(1)}, "unknown arrays.*more.weight"),
        ({"decoder.final.bias": np.zeros(2)}, "shape"),
    ],
)
def test_other_weights_are_refused_in_one_line(tensors, tmp_path, change, message):
    other = {name: value for name, value in {**tensors, **change}.items() if value is not None}
    with pytest.raises(UserError, match=message) as error:
        tcmonodepth.load(saved(other, tmp_path))
    assert "\n" not in str(error.value)


def test_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        tcmonodepth.load(tmp_path / "weights.npz")


def reference(torch, weights, x):
    """The network in PyTorch's functions: images [batch, 3, H, W] in 0..1 → inverse depth [batch, 1, H, W]."""
    F = torch.nn.functional

    def conv(x, name, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        bias = weights.get(f"{name}.bias")
        return F.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2, groups=groups)

    def norm(x, name, relu=True):
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parts, eps=1e-5)
        return F.relu(x) if relu else x

    def unit(x, name, stride):
        side, main = (x, x) if stride == 2 else (x[:, 0::2], x[:, 1::2])
        main = norm(conv(main, f"{name}.branch_main.0"), f"{name}.branch_main.1")
        main = norm(conv(main, f"{name}.branch_main.3", stride, main.shape[1]), f"{name}.branch_main.4", relu=False)
        main = norm(conv(main, f"{name}.branch_main.5"), f"{name}.branch_main.6")
        if stride == 2:
            side = norm(conv(side, f"{name}.branch_proj.0", 2, side.shape[1]), f"{name}.branch_proj.1", relu=False)
            side = norm(conv(side, f"{name}.branch_proj.2"), f"{name}.branch_proj.3")
        return torch.cat([side, main], 1)

    x = norm(conv(x, "encoder.first_conv.0", 2), "encoder.first_conv.1")
    features = [x]
    for number in range(16):
        x = unit(x, f"encoder.features.{number}", 2 if number in (0, 4, 12) else 1)
        if number in (3, 11, 15):
            features.append(x)
    x = features.pop()
    for level in (3, 2, 1):
        name, low = f"decoder.decoder{level}", features.pop()
        skip = norm(conv(low, f"{name}.skip_conv.0"), f"{name}.skip_conv.1")
        x = torch.cat([F.interpolate(x, size=low.shape[2:], mode="bilinear", align_corners=False), skip], 1)
        x = norm(conv(x, f"{name}.last_conv.0.conv.0", 1, x.shape[1]), f"{name}.last_conv.0.conv.1")
        x = norm(conv(x, f"{name}.last_conv.0.conv.3"), f"{name}.last_conv.1")
    x = F.relu(conv(x, "decoder.final"))
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
