"""What the README says is what runs: its scripts, word for word."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def block(name: str) -> str:
    """Returns the code block after the comment <!-- name -->."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, f"README.md has no block {name}"
    return found.group(1)


def run(command: list[str], cwd: Path) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_the_keras_script_fine_tunes_the_exported_backbone(small_demo):
    printed = run([sys.executable, "-c", block("keras")], small_demo)
    assert "Epoch 3/3" in printed and "accuracy" in printed


@pytest.mark.slow
def test_photographs_become_records_a_student_and_an_onnx_backbone(small_demo, tmp_path):
    shutil.copytree(small_demo / "runs", tmp_path / "demo" / "runs")
    script = block("photos").replace("pip install", "true")
    run(["bash", "-euc", script], tmp_path)
    printed = run([sys.executable, "-c", block("onnx")], tmp_path)
    assert printed.split("\n")[:4] == [
        "C5 (1, 7, 10, 256)",
        "P3 (1, 28, 40, 48)",
        "P4 (1, 14, 20, 48)",
        "P5 (1, 7, 10, 48)",
    ]
