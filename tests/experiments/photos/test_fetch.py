import hashlib
import stat

import pytest

from must_tf.experiments.photos import run
from must_tf.experiments.photos.fetch import fetch_all
from must_tf.experiments.photos.packages import PACKAGES, Package

GOOD = b"what the registry holds"


def package(name, client="npm", data=GOOD):
    return Package(name, "1.0", client, f"{name}.tgz", hashlib.sha256(data).hexdigest()[:16], "MIT", "a test")


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """Sets PATH to a folder with a fake npm only: it packs a package, fails for some names, and logs its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(
        "#!/bin/sh\n"
        f'echo call >> "{tmp_path}/calls"\n'
        "for last; do :; done\n"
        'case "$last" in\n'
        '  wrong@*) printf "something else" > it.tgz ;;\n'
        '  gone@*) echo "npm error 404 Not Found" >&2; exit 1 ;;\n'
        "  empty@*) ;;\n"
        f'  *) printf "{GOOD.decode()}" > it.tgz ;;\n'
        "esac\n"
    )
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return tmp_path


def test_failures_are_reported_in_one_line_each_and_the_rest_is_fetched(clients, capsys):
    wanted = [package("wrong"), package("gone"), package("empty"), package("missing", "apt-get"), package("good")]
    found = fetch_all(wanted, clients / "cache")
    assert list(found) == ["good"] and found["good"].read_bytes() == GOOD
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    for name, message in {
        "wrong": "SHA-256",
        "gone": "404 Not Found",
        "empty": "left 0 files",
        "missing": "apt-get is not installed",
    }.items():
        (line,) = (line for line in lines if f"package {name}" in line)
        assert message in line and line.startswith("photos: without a test")


def test_cache_has_checked_files_only(clients):
    fetch_all([package("wrong"), package("good")], clients / "cache")
    assert [path.name for path in (clients / "cache").rglob("*") if path.is_file()] == ["good.tgz"]


def test_cached_file_is_used_and_a_damaged_one_is_fetched_again(clients):
    for damage, calls in ((None, 1), (None, 1), (b"damaged", 2)):
        if damage:
            (clients / "cache" / "packages" / "good.tgz").write_bytes(damage)
        found = fetch_all([package("good")], clients / "cache")
        assert found["good"].read_bytes() == GOOD
        assert len((clients / "calls").read_text().splitlines()) == calls


def test_packages_have_distinct_names_and_digests():
    assert len({entry.name for entry in PACKAGES}) == len({entry.file for entry in PACKAGES}) == len(PACKAGES)
    assert all(len(entry.sha256) == 16 and int(entry.sha256, 16) for entry in PACKAGES)


def test_unknown_package_is_a_user_error(capsys):
    with pytest.raises(SystemExit) as ended:
        run.run(["--only=fetch", "--packages=foolbx"])
    assert ended.value.code == 2
    assert "did you mean 'foolbox'?" in capsys.readouterr().err


@pytest.mark.slow
def test_small_package_is_fetched_from_its_registry(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUST_TF_CACHE", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        run.run(["--only=fetch", "--packages=foolbox"])
    assert not ended.value.code
    printed = capsys.readouterr().out
    if "photos: without" in printed:
        pytest.skip(printed.splitlines()[0])
    assert "1 of 1 packages" in printed
    assert [path.name for path in (tmp_path / "packages").iterdir()] == ["foolbox-3.3.4-py3-none-any.whl"]
