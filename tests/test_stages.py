import pytest

from must_tf.errors import UserError
from must_tf.stages import Stage, run_stages


def test_stage_that_fails_is_told_with_its_folder_its_last_line_and_its_log(tmp_path, monkeypatch):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "1")  # given back afterwards
    bad = Stage("cellar", ("rooms", "--splits=cellar/train", "--out=rooms"), "rooms/cellar/train/manifest.json")
    after = Stage("after", ("report", "--out=report.html"), "report.html", ("cellar",))
    with pytest.raises(UserError) as raised:
        run_stages([bad, after], tmp_path, 1)
    said = str(raised.value)
    assert said.startswith(f"{tmp_path}: stage cellar failed: ") and "cellar/train" in said and "\n" not in said
    log = said.rpartition("(log: ")[2].removesuffix(")")
    assert log.startswith(str(tmp_path)) and "cellar/train" in open(log).read()  # noqa: SIM115
    assert not (tmp_path / "report.html").exists()
