import pytest
import tensorflow as tf

from must_tf.runtime import precision


@pytest.mark.parametrize(
    ("lines", "policy"),
    [
        ("processor: 0\nflags\t\t: fpu avx2 avx512f amx_bf16\n", "mixed_bfloat16"),
        ("flags\t\t: fpu avx512_bf16\n", "mixed_bfloat16"),
        ("flags\t\t: fpu avx2 avx512f\n", "float32"),
        ("Features\t: fp asimd bf16\n", "float32"),
        (None, "float32"),
    ],
)
def test_cpu_that_emulates_bfloat16_computes_in_float32(lines, policy, tmp_path, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
    if lines is not None:
        (tmp_path / "cpuinfo").write_text(lines)
    assert precision.fast_policy() == policy


@pytest.mark.parametrize(("capability", "policy"), [((9, 0), "mixed_bfloat16"), ((7, 5), "float32"), (None, "float32")])
def test_gpu_counts_before_the_cpu(capability, policy, monkeypatch):
    details = {"compute_capability": capability} if capability else {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert precision.fast_policy() == policy
