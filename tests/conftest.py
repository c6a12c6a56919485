import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `import toy`
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import shutil

import hypothesis
import pytest

# MUST_TF_EXAMPLES=5000 tries so many random inputs in each property test, other ones each time; see tests/test_fuzz.py.
_EXAMPLES = int(os.environ.get("MUST_TF_EXAMPLES", "0"))
hypothesis.settings.register_profile(
    "chosen",
    max_examples=_EXAMPLES or 20,
    deadline=None,
    derandomize=not _EXAMPLES,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("chosen")


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """A dataset of all five kinds of task: 22 images of mixed sizes in 2 shards, some without some labels."""
    import toy

    folder = tmp_path_factory.mktemp("data") / "toy"
    toy.write_dataset(folder, toy.toy_records(22))
    return folder


@pytest.fixture(scope="session")
def former(tmp_path_factory):
    """What version 0.1.0 wrote: `records`, a `run` with a checkpoint of step 2, and some files of an `export`."""
    import zipfile

    folder = tmp_path_factory.mktemp("former")
    zipfile.ZipFile(Path(__file__).parent / "data" / "v0.1.0.zip").extractall(folder)
    return folder


@pytest.fixture
def data(toy_data, tmp_path):
    """A copy of the toy dataset, to be damaged."""
    return shutil.copytree(toy_data, tmp_path / "data")


@pytest.fixture
def folder(tmp_path):
    """A folder of five plain images of mixed sizes."""
    import numpy as np
    import toy
    from PIL import Image

    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i, (height, width) in enumerate(toy.SIZES):
        Image.fromarray(toy.random_image(rng, height, width)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture(scope="session")
def toy_trainer(toy_data):
    """A trainer of all five tasks for 4 steps, checkpoints at 2 and 4."""
    import toy

    from must_tf.training import Trainer

    return Trainer(toy.experiment(toy_data))


@pytest.fixture(scope="session")
def toy_run(toy_trainer, tmp_path_factory):
    """The workdir of a finished run of the toy trainer."""
    workdir = tmp_path_factory.mktemp("runs") / "toy"
    toy_trainer.run(workdir)
    return workdir


@pytest.fixture(scope="session")
def classifier_run(toy_data, tmp_path_factory):
    """The workdir of a finished run of classification alone: a student without a pyramid."""
    import toy

    from must_tf.training import train

    workdir = tmp_path_factory.mktemp("runs") / "classifier"
    train(toy.experiment(toy_data, tasks=[toy.SCENE], steps=2), workdir)
    return workdir
