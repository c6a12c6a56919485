"""TensorFlow leaves memory on GPUs to other processes and libraries; there is no GPU here, so that one is made up."""

import pytest
import tensorflow as tf

from must_tf.runtime import gpus


@pytest.fixture
def grown(monkeypatch):
    """What is asked of TensorFlow, on a machine with two GPUs."""
    asked = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind} 0", f"{kind} 1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *asking: asked.append(asking))
    return asked


def test_gpus_are_counted_and_their_memory_grows(grown):
    assert gpus.share_gpus() == 2 and grown == [("GPU 0", True), ("GPU 1", True)]


@pytest.mark.parametrize(("environment", "lines"), [("", 1), ("true", 0)])
def test_after_a_training_in_the_same_program_one_line_says_that_it_is_too_late(
    environment, lines, grown, monkeypatch, capsys
):
    def refuse(gpu, grows):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", environment)
    gpus._say_too_late.cache_clear()
    assert gpus.share_gpus() == gpus.share_gpus() == 2
    assert capsys.readouterr().out.count("TensorFlow has taken the memory of the GPUs before") == lines
