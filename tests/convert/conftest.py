import labeled
import pytest
import toy

from must_tf.convert import Selection, convert
from must_tf.records import open_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Five images with all kinds of labels, see `labeled.records`, in two shards."""
    folder = tmp_path_factory.mktemp("convert") / "data"
    toy.write_dataset(folder, labeled.records(), labeled.TASKS, source={"license": "CC0-1.0"})
    return folder


@pytest.fixture(scope="session")
def records(dataset):
    """The records of the dataset by file name, as they are stored."""
    return {record.filename: record for record in open_dataset(dataset).records()}


@pytest.fixture
def converted(dataset, tmp_path):
    """Converts the dataset: returns the folder, and what `convert` returned."""

    def run(to, images="copy", data=dataset, root=None, **selection):
        out = tmp_path / "out"
        return out, convert(data, to, out, Selection(**selection), images, root)

    return run
