"""A small dataset of all kinds, a student that fits it, a transfer table, lines, and a reader of pages.

Names are awkward on purpose.
"""

import copy
import html
import html.parser
import io
import json
import re
import shutil
import subprocess
import types

import numpy as np
import pytest
from PIL import Image

from must_tf import records, report, tasks
from must_tf.saving import save_student
from must_tf.student import Student
from must_tf.tasks.classification import Classification
from must_tf.tasks.depth import Depth
from must_tf.tasks.detection import Detection
from must_tf.tasks.normals import Normals
from must_tf.tasks.segmentation import Segmentation
from must_tf.trunk import Trunk

_AWKWARD = '<b>"so&fa"</b>'
_TEACHER = "teacher-<1>"
_TASKS = (
    Classification("scene", class_names=("hall", _AWKWARD)),
    Detection("objects", class_names=("ball", _AWKWARD), num_convs=1),
    Segmentation("parts", class_names=("floor", "wall", "door")),
    Depth("depth"),
    Normals("normals"),
)
_COST = {"images": 4800, "minutes": 1.5}
_TRANSFER = {
    "title": "Transfer <to> two tasks",
    "command": "must demo --out='a & b'",
    "note": "with a <note>",
    "inits": ["random", "classification", "must"],
    "reference": "classification",
    "candidate": "must",
    "seeds": [0, 1],
    "sweep": {"learning_rates": [0.1], "steps": [150]},
    "tasks": [
        {
            "name": "classification",
            "metric": "top1",
            "settings": 1,
            "batch_size": 16,
            "train_images": 300,
            "validation_images": 0,
            "test_images": 1500,
            "scores": {"random": [0.20, 0.22], "classification": [0.40, 0.40], "must": [0.49, 0.51]},
            "chosen": {},
            "cost": {init: dict(_COST) for init in ("random", "classification", "must")},
        },
        {
            "name": "depth",
            "metric": "delta1",
            "settings": 1,
            "batch_size": 16,
            "train_images": 300,
            "validation_images": 0,
            "test_images": 500,
            "scores": {"random": [0.3, 0.3], "classification": [0.8, 0.8], "must": [0.6, 0.6]},
            "chosen": {},
            "cost": {init: dict(_COST) for init in ("random", "classification", "must")},
        },
    ],
}
_LINES = {
    "title": "More <images>",
    "command": "python -m sizes --out='a & b'",
    "note": "",
    "x": {"name": "unlabeled images", "values": [500, 2000, 8000], "log": True},
    "panels": [
        {
            "name": "classification, top1",
            "lines": {"<b>": [[0.4, 0.42], None, [0.5, 0.5]], "must": [[0.5], [0.6], [0.7]]},
        },
        {"name": "depth, delta1", "lines": {"must": [[0.3, 0.32], [0.4, 0.44], [0.5, 0.52]]}},
    ],
}


def _record(index: int, height: int = 24, width: int = 32) -> records.Record:
    rng = np.random.default_rng(index)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(file, "PNG")
    mask = np.where(rng.random((height, width)) < 0.1, 255, rng.integers(0, 2, (height, width)))
    labels = {
        "scene": index % 2,
        "objects": {"boxes": np.array([[0.1, 0.2, 0.7, 0.9]])[: index % 3], "classes": np.array([1])[: index % 3]},
        "parts": mask,
        "depth": rng.uniform(1, 5, (height, width)),
        "normals": np.broadcast_to((0.0, 0.0, -1.0), (height, width, 3)),
    }
    if index == 0:
        del labels["normals"]
    origins = {name: _TEACHER if name == "objects" else records.HUMAN for name in labels}
    return records.Record(file.getvalue(), "PNG", height, width, f"{index:016x}", labels, origins)


def _write_dataset(folder):
    plan = records.Plan(folder, "rooms", "train", _TASKS, 2, {"seed": 0})
    left_out = records.Quarantined("in/<broken>.jpg", "not an image & not a video")
    records.write_shard(plan, 0, [_record(0), _record(1), left_out])
    records.write_shard(plan, 1, [_record(2), _record(3, 40, 20)])
    told = {"format": "onnx", "path": "t.onnx", "sha256": "ab" * 32, "input_size": [64, 64], "license": "MIT"}
    records.finish(plan, {_TEACHER: told | {"task": tasks.to_json(_TASKS[1])}})
    return folder


@pytest.fixture(scope="session")
def sample():
    return types.SimpleNamespace(
        awkward=_AWKWARD, teacher=_TEACHER, tasks=_TASKS, record=_record, write_dataset=_write_dataset
    )


@pytest.fixture(scope="session")
def read_page():
    """Reads a page as a browser would: `of(tag)` its attributes, `cells`, `source`; fails where the shape is bad."""
    return _read_page


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    return _write_dataset(tmp_path_factory.mktemp("report") / "rooms")


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run & co"
    folder.mkdir()
    student = Student(_TASKS, Trunk("resnet-10", 0.125, 3, 5, 8))
    save_student(student, folder)
    (folder / "config.json").write_text(json.dumps({"input_size": [64, 64]}))
    lines = [{"step": s, "loss": 3 / s, "loss/scene": 2.0, "loss/depth": 1 / s, "data_wait": 0.1} for s in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def transfer():
    return copy.deepcopy(_TRANSFER)


@pytest.fixture(scope="session")
def transfer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "transfer.json"
    path.write_text(json.dumps(_TRANSFER))
    return path


@pytest.fixture
def lines():
    return copy.deepcopy(_LINES)


@pytest.fixture(scope="session")
def lines_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "lines.json"
    path.write_text(json.dumps(_LINES))
    return path


@pytest.fixture(scope="session")
def whole(dataset_folder, workdir, transfer_file, lines_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    arguments = (
        [dataset_folder],
        [workdir],
        workdir,
        [transfer_file, transfer_file],
        "Rooms & <more>",
        [lines_file, lines_file],
    )
    report.report(folder / "page.html", *arguments)
    return folder / "page.html", arguments


@pytest.fixture(scope="session")
def browser():
    """The path of Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"no Chromium on this machine: {', '.join(names)}")


@pytest.fixture
def browse(browser, tmp_path):
    """Opens an address: `browse(address, *flags)` returns what Chromium prints."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,1500",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip

    def run(address, *flags):
        ended = subprocess.run([*command, *flags, address], check=True, capture_output=True, timeout=240)
        return ended.stdout.decode()

    return run


@pytest.fixture
def ask(browse, tmp_path):
    """Runs a script in a page once it is there: `ask(source, script)` returns what the script returns.

    The page is in a frame of the width that is asked for, because Chromium's window is never as narrow as a phone.
    """

    def run(source, script, width=1200, library=None):
        brought = f'<script src="file://{library}"></script>' if library else ""
        telling = "value => parent.postMessage(JSON.stringify(value), '*')"
        asking = f"{brought}<script>(async () => {{ {script} }})().then({telling})</script></body>"
        open_to_scripts = re.sub(r"<meta[^>]*Content-Security-Policy[^>]*>", "", source)
        (tmp_path / "asked.html").write_text(open_to_scripts.replace("</body>", asking))
        (tmp_path / "asking.html").write_text(
            "<script>onmessage = told => document.body.dataset.answer = told.data</script>"
            f'<body><iframe src="asked.html" width="{width}" height="900"></iframe></body>'
        )
        shown = browse(f"file://{tmp_path / 'asking.html'}", "--dump-dom", "--virtual-time-budget=100000")
        return json.loads(html.unescape(re.search(r'data-answer="([^"]*)"', shown)[1]))

    return run


_VOID = {"br", "img", "input", "link", "meta"}
_LOADS = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


class _Page(html.parser.HTMLParser):
    """The elements of a page; an unbalanced tag or an outside resource is an error."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.cells, self._open, self._cell = [], [], [], None
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        for name, value in attrs:
            if name in _LOADS:
                assert value.startswith(("#", "data:")), f"{tag} loads {value}"
        if tag not in _VOID:
            self._open.append(tag)
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"
        if tag in ("td", "th"):
            self.cells.append("".join(self._cell))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


def _read_page(path):
    page = _Page(path)
    programs = [script for script in page.of("script") if script.get("type") != "application/json"]
    assert "url(" not in page.source and "@import" not in page.source and "fetch(" not in page.source
    assert len(programs) == page.source.count("script-src &#x27;sha256-") <= 1
    assert all(image["alt"] for image in page.of("img"))
    anchors = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(anchors) == len(set(anchors))
    assert {link["href"] for link in page.of("a")} <= {f"#{anchor}" for anchor in anchors}
    return page
