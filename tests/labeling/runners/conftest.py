import pytest
import toy

from must_tf.labeling import label


@pytest.fixture(scope="module")
def teachers(toy_run):
    return toy.load_all([f"depth=student:{toy_run}", f"scene=student:{toy_run}"])


@pytest.fixture
def local(optimized, folder, teachers, tmp_path):
    """Returns the files that this process alone writes for five images and one that cannot be read."""
    (folder / "text.jpg").write_text("no image")
    label(folder, teachers, tmp_path / "local", 2, 2, max_bad=0.5)
    return toy.files(tmp_path / "local")
