import itertools
import shutil

import pytest

from must_tf.errors import UserError
from must_tf.export import FORMATS, export, parity, summary
from must_tf.saving import load_student
from must_tf.training.initial import load_trunk

SAVEDMODEL = {
    "fingerprint.pb",
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
}
OUTPUTS = {
    "backbone": {"C5", "P3", "P4", "P5"},
    "heads": {"scene/probs", "stuff/probs", "depth/depth", "normals/normals"},
}
OUTPUTS["student"] = OUTPUTS["heads"] | {"things/boxes", "things/classes", "things/scores"}


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_export_leaves_exactly_these_files_and_nothing_beside_them(exported):
    out, _ = exported
    models = {f"savedmodel/{part}/{name}" for part in ("backbone", "student") for name in SAVEDMODEL}
    models |= {"onnx/backbone.onnx", "onnx/heads.onnx", "onnx/student.onnx"}
    assert files(out) == models | {"architecture.json", "card.json", "README.md"}
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_every_output_of_every_file_is_the_students_at_two_sizes_and_two_batches(exported):
    _, parities = exported
    seen = {(p.file, p.output, p.size, p.batch) for p in parities}
    assert len(seen) == len(parities)
    for part, names in OUTPUTS.items():
        for file in {p.file for p in parities if f"/{part}" in p.file}:
            assert seen >= set(itertools.product([file], names, [(64, 64), (96, 64)], [1, 3]))
    assert len({p.file for p in parities}) == 5
    assert max(p.largest for p in parities) <= 1e-4
    assert min(p.compared for p in parities) > 0  # boxes too


def test_the_summary_gives_each_file_one_line_with_its_largest_error_and_its_bytes(exported):
    out, parities = exported
    lines = summary(out).splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(dict.fromkeys(p.file for p in parities))
    worst = max(p.largest for p in parities if p.file == "onnx/student.onnx")
    assert f"{worst:.1e}" in lines[-1] and f"{(out / 'onnx/student.onnx').stat().st_size:,}" in lines[-1]


def test_a_second_export_of_the_same_weights_changes_nothing(run, exported):
    out, parities = exported
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    assert export(run[0], out) == parities
    assert export(run[0], out, formats=["onnx"]) == parities
    assert {name: (out / name).stat().st_mtime_ns for name in files(out)} == before


def test_an_export_of_other_weights_is_not_touched(exported, classifier):
    with pytest.raises(UserError, match="another student"):
        export(classifier, exported[0])


def test_an_export_that_lost_a_file_is_not_taken_for_whole(run, exported, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exported[0], copy)
    (copy / "onnx" / "student.onnx").unlink()
    with pytest.raises(UserError, match=r"student\.onnx"):
        export(run[0], copy)


def test_a_folder_of_something_else_is_not_touched(classifier, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="is no export"):
        export(classifier, tmp_path)
    assert files(tmp_path) == {"thesis.tex"}


def test_a_student_without_a_pyramid_exports_c5_alone_and_its_trunk_comes_back(classifier, everywhere):
    out, parities = everywhere
    assert {p.output for p in parities} == {"C5", "scene/probs"}
    assert {(p.file, p.output) for p in parities if p.file.startswith(("savedmodel", "onnx"))} == {
        ("savedmodel/backbone", "C5"),
        ("savedmodel/student", "scene/probs"),
        ("onnx/backbone.onnx", "C5"),
        ("onnx/heads.onnx", "scene/probs"),
        ("onnx/student.onnx", "scene/probs"),
    }
    assert load_trunk(load_student(classifier), out) == ["backbone"]


@pytest.mark.parametrize("name", ["savedmodel", "onnx"])
def test_a_file_over_its_bound_does_not_stay(classifier, tmp_path, monkeypatch, name):
    monkeypatch.setattr(parity.Bound, "__init__", lambda self: vars(self).update(value=-1.0, of="largest"))
    monkeypatch.setattr(type(FORMATS[name]), "parts", ("backbone",))
    with pytest.raises(UserError, match=r"backbone.*output C5.*bound -1"):
        export(classifier, tmp_path / "out", formats=[name], sizes=[(64, 64)], batches=[1])
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_names_the_nearest(classifier, tmp_path):
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        export(classifier, tmp_path / "out", formats=["onx"])


def test_a_size_that_is_no_multiple_of_32_is_refused(classifier, tmp_path):
    with pytest.raises(UserError, match="multiples of 32"):
        export(classifier, tmp_path / "out", sizes=[(64, 70)])


def test_a_workdir_without_a_finished_student_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="train"):
        export(tmp_path / "run", tmp_path / "out")
