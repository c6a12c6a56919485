"""What is uploaded: a source distribution and a wheel, checked, and a wheel that works where it is installed."""

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, cwd, **environment):
    ended = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=environment or None, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_wheel_of_the_source_distribution_installs_and_runs(tmp_path):
    run("-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)  # the wheel is made from the sdist
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    assert run("-m", "twine", "check", "--strict", sdist, wheel, cwd=tmp_path).count("PASSED") == 2

    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"must_tf"}
    assert not [name for name in names if "docs" in name.split("/") or "tests" in name.split("/")]
    own = {
        f"must_tf/{path.relative_to(ROOT).as_posix()}"
        for top in ("export", "experiments")
        for path in (ROOT / top).rglob("*.py")
    }
    own |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "must_tf").rglob("*.py")}
    own |= {f"must_tf/report/{name}" for name in ("style.css", "filters.js")}
    assert own <= set(names)
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/CHANGELOG.md") for name in archive.getnames())

    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "site", wheel, cwd=tmp_path)
    code = "import must_tf, must_tf.export, must_tf.experiments.rooms.student; print(must_tf.__file__)"
    path = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    assert run("-c", code, cwd=tmp_path, **path).strip().startswith(str(tmp_path / "site"))
    assert "must_tf 0" in run("-m", "must_tf.cli", "--version", cwd=tmp_path, **path)


def test_all_requirements_have_upper_bounds():
    """A new major version of a library does not reach users before the tests have run with it."""
    texts = [one.value for one in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(one, ast.Constant)]
    found = [one for one in texts if isinstance(one, str) and re.match(r"[\w.-]+(\[\w+\])?[<>=]=?[\w.]", one)]
    assert len(found) > 40 and [one for one in found if "<" not in one] == []
