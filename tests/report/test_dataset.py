import json
import re
import shutil
import subprocess

import pytest

from must_tf.labeling.grade import Grade
from must_tf.report import inspect, summary
from must_tf.report.dataset import write_dataset_page
from must_tf.report.gallery import Gallery


@pytest.fixture(scope="module")
def path(dataset_folder, tmp_path_factory):
    return tmp_path_factory.mktemp("page") / "page.html"


@pytest.fixture(scope="module")
def inspected(dataset_folder, path):
    return inspect(dataset_folder, path)


@pytest.fixture(scope="module")
def dataset(inspected):
    return inspected[0]


@pytest.fixture(scope="module")
def findings(inspected):
    return inspected[1]


def test_every_image_has_its_picture_and_one_of_each_label(dataset, path, read_page):
    alts = [image["alt"] for image in read_page(path).of("img")]
    records = list(dataset.records())
    for record in records:
        assert any(alt.startswith(f"image {record.id}") for alt in alts)
        for name in record.labels:
            assert any(f"task {name} " in alt and alt.endswith(record.id) for alt in alts)
    assert len(alts) == len(records) + sum(len(record.labels) for record in records)
    assert "no label of normals" in path.read_text()


def test_names_are_text_and_not_markup(inspected, path, read_page, sample):
    page = read_page(path)
    assert sample.awkward not in page.source and sample.teacher not in page.source
    assert sample.awkward in page.cells and sample.teacher in page.cells
    assert "in/<broken>.jpg" in page.cells and "not an image & not a video" in page.cells


def test_counts_classes_and_teachers_stand_in_tables(inspected, path, read_page, sample):
    cells = read_page(path).cells
    for task in sample.tasks:
        assert task.name in cells
    assert f"{sample.teacher} 4" in cells  # the origins of the boxes
    assert "MIT" in cells and "min_score 0.5, doubtful_score 1" in cells and "64 × 64" in cells
    assert cells[cells.index("hall") + 2] == "2"


def test_a_sound_dataset_has_no_alarm(inspected, path):
    assert 'role="alert"' not in path.read_text()


def test_a_broken_one_begins_with_it(dataset_folder, tmp_path, read_page):
    dataset, findings, grades = inspect(dataset_folder, tmp_path / "page.html", 0)
    findings.problems = [f"shard {i}: <bad>" for i in range(50)]
    write_dataset_page(tmp_path / "page.html", dataset, findings, grades, Gallery(dataset.manifest.tasks, 4, 0))
    page = read_page(tmp_path / "page.html")
    assert "50 problems found" in page.source and "shard 0: &lt;bad&gt;" in page.source and "10 more" in page.source
    assert page.source.index('role="alert"') < page.source.index("<main>")
    assert not page.of("img") and not page.of("script")


@pytest.mark.parametrize("pictures", [1, 3])
def test_as_many_images_as_asked_for(dataset_folder, pictures, tmp_path, read_page):
    inspect(dataset_folder, tmp_path / "page.html", pictures)
    images = read_page(tmp_path / "page.html").of("img")
    assert sum(image["alt"].startswith("image ") for image in images) == pictures


def test_the_same_dataset_gives_the_same_bytes(inspected, dataset_folder, path, tmp_path):
    inspect(dataset_folder, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_coverage_sizes_and_histograms_are_told(inspected, path, read_page):
    dataset, findings, grades = inspected
    cells = read_page(path).cells
    assert "75.0%" in cells  # of the normals
    assert "0.9–1" in cells and "3–4" in cells  # scores and meters
    text = summary(dataset, findings, grades)
    assert "normals (normals): 3 by human; 75.0% of records" in text
    assert all(quantity in text for sums in findings.histograms.values() for quantity in sums)
    assert f"{findings.image_bytes / 4:,.0f} bytes" in text


def test_grades_stand_in_page_and_text(dataset_folder, tmp_path, read_page):
    dataset, findings, _ = inspect(dataset_folder, tmp_path / "page.html", 0)
    grades = [Grade(("normals", "depth"), 3, {"within_11.25": 0.875}, "what <it> means")]
    write_dataset_page(tmp_path / "page.html", dataset, findings, grades, Gallery(dataset.manifest.tasks, 4, 0))
    page = read_page(tmp_path / "page.html")
    assert "normals against depth" in page.cells and "within_11.25 0.875" in page.cells
    assert "what &lt;it&gt; means" in page.source
    assert "normals against depth: within_11.25 0.875 (3 images)" in summary(dataset, findings, grades)


def test_every_picture_is_found_by_its_classes_and_scores(inspected, path, read_page, sample):
    page = read_page(path)
    found = [json.loads(figure["data-labels"]) for figure in page.of("figure") if figure.get("data-labels")]
    assert len(found) == 4
    for record, labels in zip(inspected[0].records(), found, strict=True):
        boxes = len(record.labels["objects"]["classes"])
        assert ([f"objects/{sample.awkward}", 1.0] in labels) == (boxes > 0)
        assert any(name.startswith("scene/") and score is None for name, score in labels)
    options = {option["value"] for option in page.of("option")}
    assert options == {""} | {name for labels in found for name, _ in labels}


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or pytest.skip("no Chromium on this machine")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ("", [0, 1, 2, 3]),
        ("#class=scene/hall", [0, 2]),
        ("#class=nonsense", [0, 1, 2, 3]),
        ("#from=0.95", [1, 2]),  # images with a box, of score 1
        ("#from=0.5&to=0.9", []),
        ("#class=scene/hall&from=0.5", []),  # hard classes have no score
        ("#pictures", [0, 1, 2, 3]),
    ],
)
def test_filters_work_in_a_browser(inspected, path, browser, fragment, shown, tmp_path):
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{path}{fragment}",
    ]  # fmt: skip
    page = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    rows = re.findall(r"<tr( hidden=\"\")?><th scope=\"row\"><figure data-labels=", page)
    assert [number for number, hidden in enumerate(rows) if not hidden] == shown
    assert f">{len(shown)} of 4 images</output>" in page
    assert not re.search(r'class="filters"[^>]*hidden', page)
