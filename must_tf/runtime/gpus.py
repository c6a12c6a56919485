"""Lets TensorFlow share GPUs with other processes, and with PyTorch and ONNX Runtime in its own."""

import functools
import os

_GROWS = "TF_FORCE_GPU_ALLOW_GROWTH"


def share_gpus() -> int:
    """Lets TensorFlow allocate GPU memory only as needed; otherwise it takes nearly all that there is, at once.

    Where it has begun to use GPUs, as after a training in the same program, this comes too late, and a line says so.

    Returns:
      The number of GPUs.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow uses them already
            _say_too_late()
    return len(gpus)


@functools.cache
def _say_too_late() -> None:
    if os.environ.get(_GROWS) != "true":
        print(
            "TensorFlow has taken the memory of the GPUs before: if models of other libraries find too little, label "
            f"in another process, or set {_GROWS}=true before TensorFlow starts"
        )
