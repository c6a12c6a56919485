import json

import pytest

from must_tf.cli import export
from must_tf.errors import UserError


@pytest.fixture
def must_export(capfd):
    """Runs `must export` in this process: (exit code, standard output, standard error)."""

    def run(*argv):
        code = 0
        try:
            export.run(list(argv))
        except SystemExit as stop:
            code = stop.code or 0
        said = capfd.readouterr()
        return code, said.out, said.err

    yield run
    export.FLAGS.unparse_flags()


def test_each_file_has_a_line_with_its_error_and_its_bytes_and_tensorflow_is_silent(
    must_export, classifier_run, tmp_path
):
    flags = ("--formats=onnx", "--nonormalize", "--allow_licenses=unknown")
    code, out, err = must_export(f"--workdir={classifier_run}", f"--out={tmp_path / 'out'}", *flags)
    assert code == 0 and err and all(line.startswith("export: ") for line in err.splitlines())
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "onnx/backbone.onnx",
        "onnx/heads.onnx",
        "onnx/student.onnx",
    ]
    assert f"{(tmp_path / 'out' / 'onnx' / 'heads.onnx').stat().st_size:,}" in out
    assert not json.loads((tmp_path / "out" / "card.json").read_text())["normalization"]["inside"]


def test_a_license_that_is_not_allowed_is_one_line(must_export, classifier_run, toy_data, tmp_path):
    flags = (f"--workdir={classifier_run}", f"--out={tmp_path / 'out'}", "--allow_licenses=MIT,Apache-2.0")
    code, _, err = must_export(*flags)
    assert code == 2 and f"license 'unknown' of data {toy_data} is not allowed" in err and err.count("\n") == 1


def test_a_size_is_height_and_width(tmp_path):
    assert export._size("64x96") == (64, 96) and export._size(None) is None
    for wrong in ("64", "64x", "x64", "ax64", "64x64x3"):
        with pytest.raises(UserError, match=f"--litert_size={wrong}: expected HEIGHTxWIDTH"):
            export._size(wrong)
