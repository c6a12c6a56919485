import dataclasses
import itertools
import json
import re
from importlib import resources

import pytest

from must_tf.labeling.grade import Grade
from must_tf.report import inspect, statistics, summary
from must_tf.report.dataset import _without_figures, write_dataset_page
from must_tf.report.gallery import Gallery
from must_tf.report.lines_section import line_styles
from must_tf.tasks import Features


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


def test_the_title_names_the_folder(inspected, dataset_folder, path):
    assert f"<h1>Labels of {dataset_folder}</h1>" in path.read_text()


def test_a_broken_one_begins_with_it(dataset_folder, tmp_path, read_page):
    dataset, findings, grades = inspect(dataset_folder, tmp_path / "page.html", 0)
    findings.problems = [f"shard {i}: <bad>" for i in range(50)]
    write_dataset_page(
        tmp_path / "page.html", dataset, findings, grades, Gallery(dataset.manifest.tasks, 4, 0, tmp_path / "page.html")
    )
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
    write_dataset_page(
        tmp_path / "page.html", dataset, findings, grades, Gallery(dataset.manifest.tasks, 4, 0, tmp_path / "page.html")
    )
    page = read_page(tmp_path / "page.html")
    assert "normals against depth" in page.cells and "within_11.25 0.875" in page.cells
    assert "what &lt;it&gt; means" in page.source
    assert "normals against depth: within_11.25 0.875 (3 images)" in summary(dataset, findings, grades)


def images_of(source):
    """Returns what the filters read: for each image its labels, and its row where that is not in the table."""
    return json.loads(re.search(r'<script type="application/json" id="gallery-images">(.*?)</script>', source)[1])


def test_every_picture_is_found_by_its_tasks_classes_and_scores(inspected, path, read_page, sample):
    page = read_page(path)
    found = images_of(page.source)
    assert len(found) == 4
    for record, (labels, row) in zip(inspected[0].records(), found, strict=True):
        boxes = len(record.labels["objects"]["classes"])
        assert row is None and (["objects", sample.awkward, 1.0] in labels) == (boxes > 0)
        assert {task for task, _, _ in labels} == set(record.labels)
        assert all(score is None for task, _, score in labels if task == "scene")
    options = {option["value"] for option in page.of("option")}
    assert options == {""} | {f"{task}/{name}" for labels, _ in found for task, name, _ in labels if name}
    drawn = {element["data-task"] for _, element in page.elements if "data-task" in element}
    assert drawn == {task.name for task in sample.tasks}


def test_many_pictures_are_files_beside_the_page_and_their_rows_wait(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("must_tf.report.gallery.AT_ONCE", 2)
    inspect(dataset_folder, tmp_path / "page.html", 3)
    source = (tmp_path / "page.html").read_text()
    rows = [row for _, row in images_of(source)]
    assert [row is None for row in rows] == [True, True, False] and rows[2].startswith('<tr><th scope="row"><figure>')
    pictures = re.findall(r'src="([^"]*)"', source + rows[2])
    assert len(pictures) > 9 and all(picture.startswith("page_pictures/") for picture in pictures)
    assert {tmp_path / picture for picture in pictures} == set((tmp_path / "page_pictures").iterdir())
    assert "folder page_pictures" in source
    inspect(dataset_folder, tmp_path / "page.html", 3)
    assert (tmp_path / "page.html").read_text() == source


def test_what_is_left_out_and_long_identities_are_readable(dataset):
    shard = dataclasses.replace(dataset.manifest.shards[0], labels={}, empty={}, left_out={"held by x": 1234})
    tasks = (Features("dino", 4, 4, "3f" * 32),)
    changed = dataclasses.replace(dataset, manifest=dataclasses.replace(dataset.manifest, tasks=tasks, shards=(shard,)))
    assert '<th scope="row">held by x</th><td class="number">1,234</td>' in statistics.left_out(changed)
    assert "features (3f3f3f3f3f3f…)" in statistics.origins(changed, None)


def _colors(block):
    return dict(re.findall(r"--([\w-]+): (#\w+);", block))


def _luminance(color):
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colors_have_the_contrast_of_wcag_aa_in_light_dark_and_print():
    blocks = re.findall(r":root \{(.*?)\}", resources.files("must_tf.report").joinpath("style.css").read_text(), re.S)
    assert len(blocks) == 3
    for colors in map(_colors, blocks):
        for text, ground in itertools.product(("ink", "soft", "accent", "good", "bad"), ("paper", "card")):
            assert _contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        assert min(_contrast(colors[text], colors["bad-soft"]) for text in ("ink", "bad")) >= 4.5
        for drawn in ("accent", *(f"other{i}" for i in range(5))):
            assert _contrast(colors[drawn], colors["paper"]) >= 3, drawn


def test_lines_differ_in_their_shape_and_not_in_color_alone():
    assert len({shape for _, shape in line_styles([*"abcde", "must"]).values()}) == 6


def test_figures_of_a_warning_do_not_matter_but_names_do():
    assert _without_figures("a: labels by m-1f2: 93% of 1,000 m") == _without_figures(
        "a: labels by m-1f2: 91.5% of 20 m"
    )
    for one, other in (
        ("mask_1: labels by t: x", "mask_2: labels by t: x"),
        ("a: labels by t-50: x", "a: labels by t-18: x"),
    ):
        assert _without_figures(one) != _without_figures(other)
