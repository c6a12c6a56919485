"""The package is a staircase: each part imports from the parts below it, never from above, and there are no circles."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import must_tf
import must_tf.experiments
import must_tf.export
from must_tf.tasks import KINDS

# From the top down. Parts on one line stand beside each other and do not import one another.
STAIRCASE = (
    "experiments",
    "cli",
    "verbs",
    "report",
    "evaluation",
    "labeling export",
    "training",
    "teachers",
    "quality",
    "convert",
    "sources",
    "inference",
    "pipeline",
    "records",
    "integrity saving",
    "student",
    "tasks",
    "garden geometry",
    "trunk copies",
    "pricing",
    "storage json_members",
    "parsing former runtime leases",
    "buckets ranges",
    "errors shown",
    "",
)
FLOORS = {part: floor for floor, parts in enumerate(STAIRCASE) for part in parts.split(" ")}
HOMES = {
    "experiments": Path(must_tf.experiments.__path__[0]),
    "export": Path(must_tf.export.__path__[0]),
    "": Path(must_tf.__path__[0]),
}


def modules():
    """Returns {module: file} of the whole package."""
    found = {}
    for prefix, home in HOMES.items():
        for file in home.rglob("*.py"):
            parts = [*([prefix] if prefix else []), *file.relative_to(home).with_suffix("").parts]
            found[".".join(["must_tf", *(parts[:-1] if parts[-1] == "__init__" else parts)])] = file
    return found


MODULES = modules()


def imported(name, everywhere=True):
    """Yields the modules of the package that a module imports; `everywhere`: within functions too."""
    tree = ast.parse(MODULES[name].read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "must_tf":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def part_of(name):
    return ([*name.split("."), ""])[1]


def test_every_part_has_its_floor():
    assert {part_of(name) for name in MODULES} == set(FLOORS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down_the_staircase(name):
    own = part_of(name)
    for other in imported(name):
        part = part_of(other)
        # Version and lazily imported public names live in the package itself.
        assert part in (own, "") or FLOORS[part] > FLOORS[own], f"{name} imports {other}, which is not below it"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {other for other in imported(name, everywhere=False) if other != name} for name in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_garden_is_the_only_door_to_model_garden():
    official = re.compile(r"^\s*(from|import) official\b", re.MULTILINE)
    assert {part_of(name) for name, file in MODULES.items() if official.search(file.read_text())} == {"garden"}
    inner = {name for name in MODULES if name.startswith("must_tf.garden.")}
    assert not [name for name in MODULES if part_of(name) != "garden" and inner & set(imported(name))]


def test_formats_know_no_kind_and_kinds_no_format():
    kinds = re.compile(rf"must_tf\.tasks\.({'|'.join(KINDS)})|KINDS\[|kinds\(\)\[")
    for name, file in MODULES.items():
        if part_of(name) == "teachers":
            assert not kinds.search(file.read_text()), name
        if part_of(name) == "tasks":
            assert "must_tf.teachers" not in file.read_text(), name


def test_flags_are_parsed_by_the_command_line_alone():
    flags = re.compile(r"^from absl import .*\bflags\b", re.MULTILINE)
    users = {part_of(name) for name, file in MODULES.items() if flags.search(file.read_text())}
    assert users <= {"cli", "experiments"}
