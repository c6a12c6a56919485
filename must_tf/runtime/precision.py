"""Precision that the device computes in fast."""

from pathlib import Path

import tensorflow as tf

_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}  # Linux's names of instructions that multiply bfloat16
_CPU_INFO = Path("/proc/cpuinfo")
_CAPABILITY = (8, 0)  # least compute capability of a GPU that multiplies bfloat16


def fast_policy() -> str:
    """Returns the faster policy of this machine: `mixed_bfloat16` if it multiplies bfloat16, otherwise `float32`.

    What counts is the GPU or, without one, the CPU. A CPU without such instructions emulates them, and a step then
    takes several times as long as in float32.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        is_fast = all(detail.get("compute_capability", (0, 0)) >= _CAPABILITY for detail in details)
    else:
        is_fast = bool(_CPU_FLAGS & set(_cpu_flags()))
    return "mixed_bfloat16" if is_fast else "float32"


def _cpu_flags() -> list[str]:
    """Returns the flags of the first CPU; none where the system does not list them so."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
