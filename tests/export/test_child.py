import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.export import child
from must_tf.export.images import made_images


def test_each_file_is_run_by_another_process_and_one_that_is_damaged_is_named(exported, tmp_path, monkeypatch):
    """Files of the working directory take no part in it, whatever they are called."""
    out, _ = exported
    for name in ("must_tf", "onnxruntime", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.onnx").write_bytes(b"not a model")
    files = [("savedmodel", out / "savedmodel" / "backbone"), ("onnx", out / "onnx" / "backbone.onnx")]
    images = [made_images(1, (64, 64)), made_images(2, (32, 64))]
    jobs = [child.Job(name, str(file), i) for name, file in files for i in (0, 1)]
    outputs = child.run([*jobs, child.Job("onnx", str(tmp_path / "damaged.onnx"), 0)], images)
    found = [next(outputs) for _ in jobs]
    assert [values["C5"].shape for values in found] == [(1, 2, 2, 128), (2, 1, 2, 128)] * 2
    np.testing.assert_allclose(found[1]["P3"], found[3]["P3"], atol=1e-4)
    with pytest.raises(UserError, match=r"damaged\.onnx: a new process cannot run it: .*the file was not kept"):
        next(outputs)
