import pytest
from absl.testing import flagsaver

from must_tf.experiments.photos import run


@pytest.fixture(autouse=True)
def flags():
    """Restores the command's flags after a test."""
    saved = flagsaver.save_flag_values(run.FLAGS)
    yield
    flagsaver.restore_flag_values(saved, run.FLAGS)
