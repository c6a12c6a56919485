import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.teachers import pt2

torch = pytest.importorskip("torch", reason="torch is not installed: PyTorch models are not tested")
pretend_gpu = pytest.importorskip("pretend_gpu").pretend_gpu

from must_tf.teachers.torch import TorchModel  # noqa: E402

CARD = (
    "task: segmentation\nclass_names: [a, b]\nlayout: NCHW\nactivation: logits\nrange: [0, 1]\n"
    "mean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
)


class Net(torch.nn.Module):
    """A 1x1 convolution: [batch, 3, H, W] → [batch, 2, H, W]; and a mean, with a constant of its own."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 1)
        self.register_buffer("shift", torch.tensor([1.0, -1.0]))

    def forward(self, images):
        logits = self.conv(images)
        return {"logits": logits, "means": logits.mean((2, 3)) + self.shift + torch.tensor([0.5, 0.25])}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    """The network as a .pt2 file for any batch."""
    path = tmp_path_factory.mktemp("torch") / "net.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 4, 6),), dynamic_shapes=({0: batch},)), path)
    return path


def changed(file, path, edits=(), **files):
    """Copies a .pt2 file with texts of its model replaced, and with files replaced or added."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        files = {f"{root}/{name}": value for name, value in files.items()}
        for name in old.namelist():
            value = old.read(name)
            if name.endswith("models/model.json"):
                for before, after in edits:
                    assert before.encode() in value
                    value = value.replace(before.encode(), after.encode())
            new.writestr(name, files.pop(name, value))
        for name, value in files.items():
            new.writestr(name, value)
    return path


class Boom:
    """What writes a file as it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_program_gives_what_the_network_gives(net, file):
    model = TorchModel(str(file))
    images = np.random.default_rng(0).normal(size=(5, 3, 4, 6)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(images))
    found = model.predict(images)
    assert [str(slot) for slot in model.inputs] == ["images: float32 [?, 3, 4, 6]"]
    assert [str(slot) for slot in model.outputs()] == ["logits: float32 [?, 2, 4, 6]", "means: float32 [?, 2]"]
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-5, atol=1e-6)


def test_program_runs_on_a_gpu_where_there_is_one(file, monkeypatch):
    """With its weights, buffers and constants: the device that stands for a GPU refuses what is on the CPU."""
    images = np.random.default_rng(0).normal(size=(5, 3, 4, 6)).astype(np.float32)
    expected = TorchModel(str(file)).predict(images)
    with pretend_gpu(monkeypatch):
        found = TorchModel(str(file)).predict(images)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


def test_program_labels_by_its_card(net, file):
    file.with_name("net.pt2.card.yaml").write_text(CARD + "outputs: {probs: logits}\n")
    teacher = toy.load("t", f"torch:{file}")
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 6, 3), np.uint8)
    ready = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        logits = net.conv(torch.from_numpy(ready.transpose(0, 3, 1, 2).astype(np.float32)))
    expected = tf.nn.softmax(logits.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(teacher(images)["probs"], expected, rtol=1e-3, atol=1e-5)
    assert teacher.describe()["libraries"]["torch"] == torch.__version__


def test_script_warns_what_loading_it_means_and_gives_the_same(net, file, tmp_path, capsys):
    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images):
            return self.net(images)["logits"]

    torch.jit.trace(Logits(), torch.zeros(2, 3, 4, 6)).save(tmp_path / "net.pt")
    model = TorchModel(str(tmp_path / "net.pt"), (4, 6))
    assert "deprecated by PyTorch, and a program that may read and write files" in capsys.readouterr().out
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(
        model.predict(images)["output_0"], TorchModel(str(file)).predict(images)["logits"], rtol=1e-5
    )
    assert [str(slot) for slot in model.outputs()] == ["output_0: float32 [?, 2, 4, 6]"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("torch.ops.aten.mean.dim", "torch.os.system", "uses the operator 'torch.os.system'"),
        ("torch.ops.aten.mean.dim", "torch.ops.aten.from_file.default", "uses the operator 'torch.ops.aten.from_file"),
        ("torch.ops.aten.mean.dim", "torch.hub.load", "uses the operator 'torch.hub.load'"),
        ("Symbol('s77'", "__import__('os').getcwd() or Symbol('s77'", "computes a size by"),
        ("Symbol('s77'", "Max('__import__(\\\"os\\\").getcwd()', 1) + Symbol('s77'", "computes a size by"),
        ('"conv2d"', '"x=exit()"', "names a value 'x=exit"),
        ('"conv.weight"', '"a\\"+exit()+\\""', "names a tensor"),
        ("builtins.dict", "os.popen", "has inputs or outputs of the type"),
        (r"\"type\": \"builtins.dict", r"\"\\u0074ype\": \"os.popen", "has inputs or outputs of the type"),
    ],
)
def test_model_that_could_run_code_is_refused_before_it_is_loaded(file, tmp_path, monkeypatch, before, after, message):
    if before.startswith("Symbol"):
        text = zipfile.ZipFile(file).read("net/models/model.json").decode()
        before = text[text.index("Symbol('") : text.index("', positive")] + "'"
    path = changed(file, tmp_path / "bad.pt2", [(before, after)])
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(UserError) as error:
        TorchModel(str(path))
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_payload_that_runs_code_as_it_is_unpickled_is_refused(file, tmp_path):
    trace = tmp_path / "ran"
    buffer = io.BytesIO()
    torch.save(Boom(trace), buffer)
    config = json.loads(zipfile.ZipFile(file).read("net/data/weights/model_weights_config.json"))
    elsewhere = json.loads(json.dumps(config))
    next(iter(config["config"].values()))["use_pickle"] = True
    next(iter(elsewhere["config"].values()))["path_name"] = "custom_obj_0"
    for i, files in enumerate(
        (
            {"data/sample_inputs/model.pt": buffer.getvalue()},
            {"data/weights/model_weights_config.json": json.dumps(config), "data/weights/weight_0": buffer.getvalue()},
            {"data/weights/model_weights_config.json": json.dumps(elsewhere)},
            {"data/weights/model.pt": buffer.getvalue()},
            {"data/constants/opaque_obj_0": pickle.dumps(Boom(trace))},
            {"data/constants/custom_obj_0": pickle.dumps(Boom(trace))},
            {"data/aotinductor/model/model.so": b"\x7fELF"},
        )
    ):
        path = changed(file, tmp_path / f"bad{i}.pt2", **files)
        with pytest.raises(UserError, match="PyTorch could run code of the file") as error:
            TorchModel(str(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not trace.exists()


def test_operator_may_be_allowed_by_name(file, tmp_path):
    path = changed(file, tmp_path / "own.pt2", [("torch.ops.aten.mean.dim", "torch.ops.mine.mean.dim")])
    with pytest.raises(UserError, match=r"uses the operator 'torch\.ops\.mine\.mean\.dim'"):
        pt2.check(str(path))
    pt2.check(str(path), ["torch.ops.mine.mean.dim"])


@pytest.mark.parametrize("value", [b"", b"PK\x05\x06" + bytes(18), b"no zip"])
def test_what_is_no_program_is_refused_in_one_line(tmp_path, value):
    (tmp_path / "net.pt2").write_bytes(value)
    with pytest.raises(UserError, match=r"torch:.*net\.pt2: (damaged|holds no)"):
        TorchModel(str(tmp_path / "net.pt2"))
    (tmp_path / "net.pt").write_bytes(value)
    with pytest.raises(UserError, match=r"torch:.*net\.pt: PyTorch .* cannot load it"):
        TorchModel(str(tmp_path / "net.pt"))


def test_draft_knows_the_layout(file):
    draft = toy.describe(f"torch:{file}")
    assert "layout: NCHW" in draft and "images: float32 [?, 3, 4, 6]" in draft
