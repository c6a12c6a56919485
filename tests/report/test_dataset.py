import pytest

from must_tf.records import Findings, open_dataset, verify
from must_tf.report import dataset_report


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return open_dataset(dataset_folder)


@pytest.fixture(scope="module")
def findings(dataset):
    return verify(dataset)


@pytest.fixture(scope="module")
def path(dataset, findings, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    dataset_report(dataset, findings, path)
    return path


def test_every_image_has_its_picture_and_one_of_each_label(dataset, path, read_page):
    alts = [image["alt"] for image in read_page(path).of("img")]
    records = list(dataset.records())
    for record in records:
        assert any(alt.startswith(f"image {record.id}") for alt in alts)
        for name in record.labels:
            assert any(f"task {name} " in alt and alt.endswith(record.id) for alt in alts)
    assert len(alts) == len(records) + sum(len(record.labels) for record in records)
    assert "no label of normals" in path.read_text()


def test_names_are_text_and_not_markup(path, read_page, sample):
    page = read_page(path)
    assert sample.awkward not in page.source and sample.teacher not in page.source
    assert sample.awkward in page.cells and sample.teacher in page.cells
    assert "in/<broken>.jpg" in page.cells and "not an image & not a video" in page.cells


def test_counts_classes_and_teachers_stand_in_tables(path, read_page, sample):
    cells = read_page(path).cells
    for task in sample.tasks:
        assert task.name in cells
    assert f"{sample.teacher} 4" in cells  # the origins of the boxes
    assert "MIT" in cells and "min_score 0.5" in cells and "64 × 64" in cells
    assert cells[cells.index("hall") + 2] == "2"


def test_a_sound_dataset_has_no_alarm_and_a_broken_one_begins_with_it(dataset, findings, path, tmp_path, read_page):
    assert 'role="alert"' not in path.read_text()
    problems = [f"shard {i}: <bad>" for i in range(50)]
    broken = Findings(problems, findings.records, findings.sizes, findings.labels, findings.statistics)
    dataset_report(dataset, broken, tmp_path / "page.html", 0)
    page = read_page(tmp_path / "page.html")
    assert "50 problems found" in page.source and "shard 0: &lt;bad&gt;" in page.source and "10 more" in page.source
    assert page.source.index('role="alert"') < page.source.index("<main>")
    assert not page.of("img")


@pytest.mark.parametrize("pictures", [1, 3])
def test_as_many_images_as_asked_for(dataset, findings, pictures, tmp_path, read_page):
    dataset_report(dataset, findings, tmp_path / "page.html", pictures)
    images = read_page(tmp_path / "page.html").of("img")
    assert sum(image["alt"].startswith("image ") for image in images) == pictures


def test_the_same_dataset_gives_the_same_bytes(dataset, findings, path, tmp_path):
    dataset_report(dataset, findings, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()
