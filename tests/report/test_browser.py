"""The pages in a real browser: filters, keyboard, contrast, a phone, paper, and ten thousand images.

Chromium is needed, and for the rules of accessibility axe-core: `npm install --no-save axe-core`.
"""

import re

import numpy as np
import pages
import pytest
from PIL import Image

from must_tf.records import open_dataset, verify
from must_tf.report import gallery, inspect
from must_tf.report.dataset import write_dataset_page

pytestmark = pytest.mark.slow
AXE = pages.ROOT / "node_modules" / "axe-core" / "axe.min.js"
_SHOWN = "[...document.querySelectorAll('.gallery tbody tr')].map(row => row.querySelector('img').alt.split(' ')[1])"
_DARK = ("(prefers-color-scheme: dark)", "all")  # what the style says of dark screens then holds on all


@pytest.fixture(scope="module")
def page(dataset_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "page.html"
    inspect(dataset_folder, path)
    return path


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ("", [0, 1, 2, 3]),
        ("class=scene/hall", [0, 2]),
        ("class=nonsense", [0, 1, 2, 3]),
        ("from=0.95", [1, 2]),  # images with a box, of score 1
        ("from=0.5&to=0.9", []),
        ("class=scene/hall&from=0.5", []),  # hard classes have no score
        ("task=normals", [1, 2, 3]),
        ("task=normals&class=scene/hall", [1, 2, 3]),  # a class of another task is no choice
        ("pictures", [0, 1, 2, 3]),
    ],
)
def test_filters_choose_images(page, dataset_folder, browse, fragment, shown):
    ids = [record.id for record in open_dataset(dataset_folder).records()]
    dumped = browse(f"file://{page}#{fragment}", "--dump-dom")  # as it is, with its policy for scripts
    body = re.search(r"<tbody>(.*?)</tbody>", dumped, re.DOTALL)[1]
    assert re.findall(r'alt="image (\S+),', body) == [ids[i] for i in shown]
    assert f">{len(shown)} of 4 images</output>" in dumped
    assert not re.search(r'class="filters"[^>]*hidden', dumped)


def test_the_filter_by_task_shows_what_is_drawn_of_one_task(whole, ask):
    script = """
        const select = document.getElementById("filter-task");
        select.value = "depth";
        select.dispatchEvent(new Event("input", {bubbles: true}));
        const seen = [...document.querySelectorAll("[data-task]")].filter(element => element.checkVisibility());
        return [[...select.options].map(option => option.value), [...new Set(seen.map(one => one.dataset.task))]];
    """
    options, shown = ask(whole[0].read_text(), script)
    assert {"", "scene", "objects", "parts", "depth", "normals"} <= set(options) and shown == ["depth"]


def test_ten_thousand_images_are_quick(dataset_folder, tmp_path, monkeypatch, ask):
    dataset = open_dataset(dataset_folder)
    records, tasks = list(dataset.records()), dataset.manifest.tasks
    drawn = gallery.Gallery(tasks, 10_000, 10_000, tmp_path / "page.html")
    rows = {record.id: gallery.picture_row(record, tasks, drawn._address) for record in records}
    monkeypatch.setattr(gallery, "picture_row", lambda record, *_: rows[record.id])  # drawing takes minutes
    for index in range(10_000):
        drawn.add(index, records[index % len(records)])
    write_dataset_page(tmp_path / "page.html", dataset, verify(dataset), [], drawn)
    script = """
        const filter = document.getElementById("filter-class"), times = [], counts = [];
        for (const value of ["scene/hall", ""]) {
          const begun = performance.now();
          filter.value = value;
          filter.dispatchEvent(new Event("input", {bubbles: true}));
          document.body.getBoundingClientRect();  // lays the page out
          times.push(performance.now() - begun);
          counts.push(document.getElementById("filter-count").textContent);
        }
        document.querySelector(".gallery button").click();
        const rows = document.querySelectorAll(".gallery tbody tr").length;
        return {times, counts, rows, focused: document.activeElement.tagName};
    """
    found = ask((tmp_path / "page.html").read_text(), script)
    assert found["counts"] == [f"{count} of 10000 images; the first 100 are shown" for count in (5000, 10000)]
    assert found["rows"] == 200 and found["focused"] == "TH"
    assert max(found["times"]) < 1000  # milliseconds; with all rows laid out it took ten times as long


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_and_the_page_is_no_wider_than_its_window(page, whole, ask, width, scheme):
    if not AXE.exists():
        pytest.skip(f"no {AXE.relative_to(pages.ROOT)}; `npm install --no-save axe-core` brings it")
    script = """
        const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
        const found = await axe.run({runOnly: tags});
        const violations = found.violations.map(one => [one.id, one.nodes.length, one.nodes[0].html]);
        return {passed: found.passes.length, violations, widths: [document.documentElement.scrollWidth, innerWidth]};
    """
    for path in (page, whole[0]):
        source = path.read_text()
        found = ask(source.replace(*_DARK) if scheme == "dark" else source, script, width, AXE)
        assert found["violations"] == [] and found["passed"] > 20
        assert found["widths"][0] <= found["widths"][1] == width


def test_every_control_and_table_is_reached_by_the_keyboard(page, ask):
    script = """
        const all = [...document.querySelectorAll("a, select, input, summary, .scroll")];
        const reached = all.filter(one => one.checkVisibility());
        return reached.map(one => { one.focus(); return document.activeElement === one && one.tabIndex === 0; });
    """
    reached = ask(page.read_text(), script)
    assert len(reached) > 8 and all(reached)


def test_it_is_drawn(whole, browse, tmp_path):
    browse(f"file://{whole[0]}", f"--screenshot={tmp_path / 'page.png'}")
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 100


def test_paper_shows_the_pictures(page, whole, browse, tmp_path):
    for path in (page, whole[0]):
        browse(f"file://{path}", f"--print-to-pdf={tmp_path / 'page.pdf'}")
        printed = (tmp_path / "page.pdf").read_bytes()
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 1
        different = set(re.findall(r'<img src="([^"]*)"', path.read_text()))
        assert len(re.findall(rb"/Subtype\s*/Image\b", printed)) >= len(different)
