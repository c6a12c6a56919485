"""Tests of the registry of kinds, and of tasks from JSON."""

import json

import pytest
import toy

from must_tf import tasks
from must_tf.errors import UserError
from must_tf.tasks import from_json, kinds, to_json, with_defaults


def test_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'segmentation'"):
        from_json({"kind": "segmentaton", "name": "x"})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package with one module, and with an entry point of this value."""

    def install(module, text, value):
        (tmp_path / f"{module}.py").write_text(text)
        told = tmp_path / "mine-1.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (told / "entry_points.txt").write_text(f"[must_tf.kinds]\nany = {value}\n")
        monkeypatch.syspath_prepend(tmp_path)
        tasks._of_packages.cache_clear()

    yield install
    tasks._of_packages.cache_clear()


def test_a_package_brings_kinds_by_entry_points(installed):
    assert "blur" not in kinds()
    installed("kinds_of_mine", "import must_tf.teachers\nfrom blur import Blur\n", "kinds_of_mine:Blur")
    assert from_json({"kind": "blur", "name": "x"}).name == "x" and kinds()["depth"] is type(toy.DEPTH)
    assert "blur" not in tasks.KINDS


@pytest.mark.parametrize(
    ("module", "text", "name", "said"),
    [
        ("lacking", "import no_such_module\n", "Any", "cannot be imported: No module named 'no_such_module'; mend"),
        ("other", "Any = 3\n", "Any", "3 is no class that derives from must_tf.tasks.Task"),
        ("twin", "from blur import Blur\nclass Depth(Blur): pass\n", "Depth", "another kind is named 'depth'"),
    ],
)
def test_a_package_whose_kind_does_not_fit_is_named(installed, module, text, name, said):
    installed(module, text, f"{module}:{name}")
    with pytest.raises(UserError, match=f"kind {module}:{name} of package mine: {said}"):
        kinds()


def test_unknown_field_names_the_nearest():
    with pytest.raises(UserError, match=r"'things'.*'min_scor'.*did you mean 'min_score'"):
        from_json(to_json(toy.THINGS) | {"min_scor": 0.5})


def test_a_task_of_fewer_fields_has_their_defaults_wherever_it_stands():
    whole = json.loads(json.dumps(to_json(toy.THINGS)))
    fewer = {name: value for name, value in whole.items() if name not in ("stages", "num_proposals")}
    assert fewer != whole == with_defaults(fewer)
    beside = {"kind": "photographs", "name": "none", "of": 3}
    told = with_defaults({"teachers": {"a": {"members": [{"task": fewer}, beside]}}})
    assert told == {"teachers": {"a": {"members": [{"task": whole}, beside]}}}
