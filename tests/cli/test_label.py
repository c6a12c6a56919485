import shutil

import pytest

from must_tf.cli import label
from must_tf.cli.__main__ import main


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
