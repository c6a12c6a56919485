import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from must_tf.cli import label
from must_tf.cli.__main__ import main
from must_tf.records import read_manifest


@pytest.fixture
def must(capsys):
    """Runs `must label` in this process: (exit code, standard output, lines of standard error)."""

    def run(*argv):
        code = 0
        try:
            main(["label", *map(str, argv)])
        except SystemExit as error:
            code = error.code or 0
        finally:
            label.FLAGS.unparse_flags()
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def test_plan_prints_an_estimate_and_writes_nothing(must, folder, tmp_path, toy_run):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = must(f"--images={folder}", f"--teachers=depth=student:{toy_run}", "--batch_size=2", "--plan")
    assert code == 0 and not err and "5 images at" in out and "bytes an image" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_preview_writes_a_page_and_nothing_else(must, folder, tmp_path, toy_run):
    before = set(tmp_path.rglob("*"))
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}")
    code, out, err = must(*argv, "--preview=2")
    assert code == 0 and not err and f"{tmp_path / 'out'}.html: labels of 2 images" in out
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "out.html"}


@pytest.mark.parametrize("mode", ["--plan", "--preview=2"])
def test_a_mistake_is_one_line_and_writes_nothing(mode, must, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.onnx").touch()
    before = sorted(tmp_path.rglob("*"))
    out, teacher = f"--out={tmp_path / 'out'}", "--teachers=depth=onnx:model.onnx"
    wrong = {
        "no such folder": (f"--images={tmp_path / 'none'}", teacher),
        "holds no image": (f"--images={tmp_path / 'empty'}", teacher),
        "did you mean 'onnx'": (f"--images={folder}", "--teachers=depth=onx:model.onnx"),
        "expected TASK=FORMAT:PATH": (f"--images={folder}", "--teachers=model.onnx"),
        "no card": (f"--images={folder}", f"--teachers=depth=onnx:{tmp_path}/model.onnx"),
        "--teachers: not given": (f"--images={folder}",),
    }
    for message, argv in wrong.items():
        code, printed, err = must(*argv, out, mode)
        assert code == 2 and len(err) == 1 and message in err[0] and not printed
    assert sorted(tmp_path.rglob("*")) == before


def test_preview_of_images_that_are_none_says_so(must, tmp_path, toy_run, folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "a.jpg").write_text("no image")
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}", "--preview=2")
    code, _, err = must(*argv)
    assert code == 2 and len(err) == 1 and "could be labelled" in err[0]


def test_plan_and_preview_go_one_at_a_time(must, folder, tmp_path, toy_run):
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}")
    code, out, err = must(*argv, "--plan", "--preview=2")
    assert code == 2 and not out and "one at a time" in err[0]


def encoded(kind, **arguments):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **arguments)
    return buffer.getvalue()


def bad_images():
    """Files that Pillow, TensorFlow, libjpeg or libtiff have something to say of."""
    jpeg, png, lzw = encoded("JPEG", quality=95), encoded("PNG"), encoded("TIFF", compression="tiff_lzw")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded("JPEG", exif=exif)
    first = turned.index(b"Exif\0\0") + 6 + 8 + 2  # of the entries of the directory
    gif = bytearray(encoded("GIF"))
    frame = gif.index(b",", 13 + 3 * 2 ** ((gif[10] & 7) + 1)) + 5  # its width and height
    gif[frame : frame + 4] = (14_000).to_bytes(2, "little") * 2
    return {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "end.jpg": jpeg[:-2],
        "zeros.jpg": jpeg[:2000] + bytes(200) + jpeg[2200:],
        "extra.jpg": jpeg[:20] + bytes(4) + jpeg[20:],
        "exif.jpg": turned[: first - 2] + b"\x7f\x7f" + turned[first:],
        "cut.png": png[: len(png) // 2],
        "profile.png": encoded("PNG", icc_profile=b"rubbish"),
        "cut.tif": lzw[:-40],
        "zeros.tif": lzw[:300] + bytes(300) + lzw[600:],
        "frame.gif": bytes(gif),
        "text.jpg": b"no image",
        "empty.png": b"",
    }


def test_bad_images_are_told_in_the_manifest_and_not_on_standard_error(folder, tmp_path, toy_run):
    images = bad_images()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}", "--max_bad=0.8")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "must_tf.cli", "label", *argv]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    # Our progress; and what C itself writes: libjpeg as TensorFlow calls it, libtiff as Pillow does.
    known = re.compile(r"label \d+/17  |Corrupt JPEG data: |LZWDecode: ")
    assert [line for line in done.stderr.splitlines() if not known.match(line)] == []
    manifest = read_manifest(tmp_path / "out")
    quarantined = {Path(entry["name"]).name for entry in manifest.quarantined}
    assert quarantined >= {"cut.jpg", "end.jpg", "cut.png", "cut.tif", "text.jpg", "empty.png"}
    assert manifest.count + len(quarantined) == 5 + len(images)
