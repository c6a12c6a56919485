import pytest
from absl.testing import flagsaver

from must_tf.experiments.photos import run


@pytest.fixture(autouse=True)
def flags():
    """The command's flags are as they were when a test ends."""
    saved = flagsaver.save_flag_values(run.FLAGS)
    yield
    flagsaver.restore_flag_values(saved, run.FLAGS)
