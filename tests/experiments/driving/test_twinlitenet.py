"""TwinLiteNet's network agrees with its modules written in PyTorch's functions, on weights that the test makes up."""

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.experiments.driving import twinlitenet
from must_tf.experiments.npz_weights import load_weights

SIZE = (16, 24)


@pytest.fixture(scope="module")
def model():
    return twinlitenet.build(SIZE)


@pytest.fixture(scope="module")
def tensors(model):
    """Random weights under PyTorch's names and in its layouts, and a counter that no layer takes."""
    rng, found = np.random.default_rng(0), {"encoder.b1.bn.num_batches_tracked": np.zeros(())}
    for layer in model.layers:
        values = layer.get_weights()
        names = [f"{layer.name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        for name, value in zip([layer.name] if layer.name.endswith("gamma") else names, values, strict=False):
            if value.ndim == 4:
                shape = value.transpose(3, 2, 0, 1).shape
                value = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)  # so that values stay near 1
            else:
                value = rng.uniform(0.3, 0.9, value.size)
            found[name] = value.astype("f4")
    return found


def saved(tensors, folder):
    path = folder / "weights.npz"
    np.savez(path, **tensors)
    return path


def test_network_agrees_with_pytorch(model, tensors, tmp_path):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(1).random((2, *SIZE, 3), np.float32)
    weights = {name: torch.from_numpy(np.asarray(value, "f4")) for name, value in tensors.items()}
    with torch.no_grad():
        expected = reference(torch, weights, torch.from_numpy(images.transpose(0, 3, 1, 2)))
    load_weights(model, saved(tensors, tmp_path), "TwinLiteNet")
    found = model(images)
    assert set(found) == set(expected) == {*twinlitenet.OUTPUTS}
    for name, values in expected.items():
        assert found[name].shape == (2, *SIZE, 2) and values.std() > 0
        scale = float(values.abs().max())
        np.testing.assert_allclose(found[name], values.numpy().transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-4 * scale)


def test_saved_network_is_a_teacher_and_has_the_published_number_of_weights(tensors, tmp_path):
    from must_tf.teachers.keras import KerasFile

    path = saved(tensors, tmp_path)
    model = twinlitenet.load(path, SIZE)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 439_633
    model.save(tmp_path / "twinlitenet.keras")
    images = np.random.default_rng(1).random((1, *SIZE, 3), np.float32)
    outputs = KerasFile(str(tmp_path / "twinlitenet.keras")).predict(images)
    for name, values in model(images).items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-3, atol=1e-4 * abs(values.numpy()).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.b2.conv.weight": None}, "no array 'encoder.b2.conv.weight'"),
        ({"encoder.sa.gamma": None}, "no array 'encoder.sa.gamma"),
        ({"more.weight": np.zeros(1)}, "unknown arrays.*more.weight"),
        ({"up_1_2.act.weight": np.zeros(2)}, r"up_1_2.act.weight has the shape \[2\].*TwinLiteNet"),
    ],
)
def test_other_weights_are_refused_in_one_line(model, tensors, tmp_path, change, message):
    other = {name: value for name, value in {**tensors, **change}.items() if value is not None}
    with pytest.raises(UserError, match=message) as error:
        load_weights(model, saved(other, tmp_path), "TwinLiteNet")
    assert "\n" not in str(error.value)


def reference(torch, weights, x):
    """The network in PyTorch's functions: images [batch, 3, H, W] in 0..1 → {name: logits [batch, 2, H, W]}."""
    F = torch.nn.functional

    def act(x, name):
        parts = [weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.prelu(F.batch_norm(x, *parts, eps=1e-3), weights[f"{name}.act.weight"])

    def block(x, name, stride=1):
        kernel = weights[f"{name}.conv.weight"]
        return act(F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2), name)

    def dilated(x, name, stride=1):
        first = weights[f"{name}.c1.conv.weight"]
        x = F.conv2d(x, first, stride=stride, padding=first.shape[-1] // 2)
        one, *others = (
            F.conv2d(x, weights[f"{name}.d{d}.conv.weight"], padding=d, dilation=d) for d in (1, 2, 4, 8, 16)
        )
        return torch.cat([one, *(sum(others[: i + 1]) for i in range(len(others)))], 1)

    def level(x, down, name, blocks):
        first = x = act(dilated(x, down, 2), down)
        for i in range(blocks):
            x = act(x + dilated(x, f"{name}.{i}"), f"{name}.{i}.bn")
        return first, x

    def places(x, name):
        q, k, v = (
            F.conv2d(x, weights[f"{name}.{part}_conv.weight"], weights[f"{name}.{part}_conv.bias"]).flatten(2)
            for part in ("query", "key", "value")
        )
        attention = torch.softmax(torch.einsum("bcq,bck->bqk", q, k), -1)
        return x + weights[f"{name}.gamma"] * torch.einsum("bqk,bck->bcq", attention, v).reshape(x.shape)

    def channels(x, name):
        maps = x.flatten(2)
        alike = torch.einsum("bin,bjn->bij", maps, maps)
        attention = torch.softmax(alike.amax(-1, keepdim=True) - alike, -1)
        return x + weights[f"{name}.gamma"] * (attention @ maps).reshape(x.shape)

    half = F.avg_pool2d(x, 3, 2, 1)
    quarter = F.avg_pool2d(half, 3, 2, 1)
    x = block(torch.cat([block(x, "encoder.level1", 2), half], 1), "encoder.b1")
    first, x = level(x, "encoder.level2_0", "encoder.level2", 2)
    x = block(torch.cat([x, first, quarter], 1), "encoder.b2")
    x = block(torch.cat(level(x, "encoder.level3_0", "encoder.level3", 3), 1), "encoder.b3")
    both = block(places(x, "encoder.sa"), "encoder.conv_sa") + block(channels(x, "encoder.sc"), "encoder.conv_sc")
    x = block(both, "encoder.classifier")
    found = {}
    for number, name in ((1, "drivable"), (2, "lanes")):
        up = x
        for part in (f"up_1_{number}", f"up_2_{number}", f"classifier_{number}"):
            up = act(F.conv_transpose2d(up, weights[f"{part}.deconv.weight"], stride=2), part)
        found[name] = up
    return found
