import json
import shutil

import pytest
import toy

from must_tf import storage
from must_tf.errors import UserError
from must_tf.export import export, lineage, readme
from must_tf.records import Audited, Audits, ClassShares, Estimate, read_manifest
from must_tf.saving import WEIGHTS, write_architecture
from must_tf.student import Architecture


def run_on(workdir, *folders, **config):
    """What is left of a run whose weights do not matter."""
    (workdir / WEIGHTS).parent.mkdir(parents=True)
    (workdir / WEIGHTS).write_bytes(str(workdir).encode())
    (workdir / "config.json").write_text(json.dumps({"train": [str(folder) for folder in folders]} | config))
    return workdir


def dataset(folder, license=None, **teachers):
    toy.write_dataset(folder, toy.toy_records(2, tasks=[toy.SCENE]), [toy.SCENE], source={"license": license})
    toy.change_manifest(folder, teachers=teachers)
    return folder


def student_teacher(workdir):
    sha256 = storage.sha256(workdir / WEIGHTS)
    return {
        "format": "student",
        "path": str(workdir),
        "sha256": sha256,
        "license": "unknown",
        "task": {"name": "scene"},
    }


def test_licenses_are_gathered_through_teachers_that_are_students(tmp_path):
    human = dataset(tmp_path / "human", "CC-BY-4.0")
    teacher = run_on(tmp_path / "teacher", human)
    yolo = {"license": "AGPL-3.0", "task": {"name": "things"}}
    pseudo = dataset(tmp_path / "pseudo", None, **{"teacher-1": student_teacher(teacher), "yolo-2": yolo})
    student = run_on(tmp_path / "student", pseudo)
    assert lineage.licenses(student) == [
        {"what": f"data {pseudo}", "license": "unknown"},
        {"what": f"data {human}", "license": "CC-BY-4.0"},
        {"what": "teacher yolo-2 of task things", "license": "AGPL-3.0"},
    ]


def test_licenses_are_gathered_through_ensembles_and_derived_teachers(tmp_path):
    run = run_on(tmp_path / "teacher", dataset(tmp_path / "human", "CC-BY-NC-4.0"))
    student = student_teacher(run) | {"id": "student-1"}
    yolo = {"id": "yolo-2", "license": "AGPL-3.0", "task": {"name": "scene"}}
    both = {"format": "ensemble", "license": "unknown; AGPL-3.0", "task": {"name": "scene"}, "members": [student, yolo]}
    derived = {"format": "derive", "license": "unknown", "task": {"name": "normals"}, "derived_from": student}
    for name, teachers in (("ensemble", {"ensemble-3": both}), ("derived", {"derived-4": derived})):
        found = lineage.licenses(run_on(tmp_path / f"of-{name}", dataset(tmp_path / name, "MIT", **teachers)))
        licenses = {entry["what"].partition(" ")[0]: entry["license"] for entry in found[1:]}
        assert licenses == {"data": "CC-BY-NC-4.0"} | ({"teacher": "AGPL-3.0"} if name == "ensemble" else {})


def test_what_is_gone_or_has_other_weights_now_is_unknown(tmp_path):
    teacher = run_on(tmp_path / "teacher", dataset(tmp_path / "human", "CC-BY-4.0"))
    pseudo = dataset(tmp_path / "pseudo", "MIT", **{"teacher-1": student_teacher(teacher)})
    (teacher / WEIGHTS).write_bytes(b"trained again")
    student = run_on(tmp_path / "student", pseudo, tmp_path / "gone", init_from=str(tmp_path / "ckpt"))
    assert lineage.licenses(student) == [
        {"what": f"data {pseudo}", "license": "MIT"},
        {"what": f"data {tmp_path / 'gone'}", "license": "unknown", "missing": "not found"},
        {
            "what": "teacher teacher-1 of task scene",
            "license": "unknown",
            "missing": "its run has other weights now",
        },
        {
            "what": f"initial weights {tmp_path / 'ckpt'}",
            "license": "unknown",
            "missing": "no run and no export",
        },
    ]


def test_a_run_that_starts_from_another_has_its_lineage_and_a_circle_ends(tmp_path):
    data = dataset(tmp_path / "data", "MIT")
    one, other = tmp_path / "one", tmp_path / "other"
    run_on(one, data, init_from=str(other))
    run_on(other, data, init_from=str(one))
    assert lineage.licenses(one) == [{"what": f"data {data}", "license": "MIT"}]


def test_a_license_that_is_not_allowed_stops_the_export_and_is_named(classifier, toy_data, tmp_path):
    with pytest.raises(UserError, match=rf"'unknown' of data {toy_data} is not allowed \(--allow_licenses=MIT\)"):
        export(classifier, tmp_path / "out", allow_licenses=["MIT"])
    assert not (tmp_path / "out").exists()
    entries = [{"what": "data x", "license": "mit"}, {"what": "teacher t", "license": "AGPL-3.0"}]
    lineage.require_allowed("w", entries, ["AGPL-3.0", " MIT"])
    lineage.require_allowed("w", [{"what": "teacher u", "license": "MIT; Apache-2.0"}], ["apache-2.0", "MIT"])
    with pytest.raises(UserError, match=r"'MIT; Apache-2\.0' of teacher u"):
        lineage.require_allowed("w", [{"what": "teacher u", "license": "MIT; Apache-2.0"}], ["MIT"])
    with pytest.raises(UserError, match=r"'AGPL-3\.0' of teacher t"):
        lineage.require_allowed("w", entries, ["MIT"])


def test_data_and_teachers_of_a_run_are_described(tmp_path):
    sha256, task = "ab" * 32, {"kind": "segmentation", "name": "scene", "min_score": 0.3}
    data = dataset(tmp_path / "data", "MIT", unet={"format": "onnx", "sha256": sha256, "task": task})
    run = run_on(tmp_path / "run", data)
    assert lineage.datasets(run) == [
        {"folder": str(data), "images": 2, "records": "unknown", "labels": {"scene": {"human": 2}}, "license": "MIT"}
    ]
    expected = {"id": "unet", "task": "scene", "format": "onnx", "sha256": sha256, "thresholds": {"min_score": 0.3}}
    assert lineage.teachers(run) == [expected | {"license": "unknown"}]


def test_relative_folders_are_found_from_any_working_directory(tmp_path, monkeypatch):
    """A run of `must train --workdir=runs/student` in `here` on `data/pseudo`, whose teacher is `runs/teacher`."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    dataset(here / "data" / "human", "MIT")
    teacher = student_teacher(run_on(here / "runs" / "teacher", "data/human"))
    dataset(here / "data" / "pseudo", "CC0-1.0", teacher=teacher | {"path": "runs/teacher"})
    run = run_on(here / "runs" / "student", "data/pseudo", init_from="runs/teacher")
    dataset(elsewhere / "data" / "human", "another of the same name")
    found = []
    for folder in (here, elsewhere, tmp_path):
        monkeypatch.chdir(folder)
        found.append((lineage.licenses(run), lineage.datasets(run), lineage.find_records(run)))
    assert found[0] == found[1] == found[2]
    licenses, (data,), records = found[0]
    assert licenses == [
        {"what": "data data/pseudo", "license": "CC0-1.0"},
        {"what": "data data/human", "license": "MIT"},
    ]
    assert (data["folder"], data["images"]) == ("data/pseudo", 2)
    assert records == ("data/pseudo", str(here / "data" / "pseudo"))


def test_what_is_not_found_is_named_where_a_license_is_not_allowed(tmp_path):
    run = run_on(tmp_path / "run", "gone")
    with pytest.raises(UserError, match=r"license 'unknown' of data gone \(not found\) is not allowed"):
        lineage.require_allowed(run, lineage.licenses(run), ["MIT"])


def test_a_config_without_fields_is_one_line(tmp_path):
    run = run_on(tmp_path / "run")
    (run / "config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"config\.json: damaged"):
        lineage.licenses(run)


def test_audits_of_the_labels_go_with_the_data(tmp_path):
    folder = dataset(tmp_path / "data")
    assert "audits" not in lineage.datasets(run_on(tmp_path / "before", folder))[0]
    share, unknown = Estimate(0.9, 0.85, 0.95, 60), Estimate(None, 0.0, 1.0, 0)
    manifest = read_manifest(folder)
    found = Audited("scene", manifest.fingerprint, "csv:x", 0, 60, 1000, "a method", (ClassShares("", share, unknown),))
    manifest.audits = Audits(results={"scene": found})
    manifest.write(folder)
    run = run_on(tmp_path / "run", folder)
    data = lineage.datasets(run)
    text = "\n".join(readme.audit_section(data))
    assert "people corrected 60 of 1,000 images (a method)" in text
    assert f"| {folder} | scene | all | 90.0% [85.0%, 95.0%] | unknown |" in text
    assert "which ones the student learned from is unknown" in text
    toy.change_manifest(folder, shards=[])
    assert readme.audit_section(lineage.datasets(run)) == []


def test_an_audit_stands_in_the_card_of_a_student_that_learned_from_its_labels_alone(tmp_path):
    """Of records that were made again, and audited, since a student learned from them."""
    folder = dataset(tmp_path / "data")
    share = ClassShares("", *[Estimate(0.9, 0.85, 0.95, 60)] * 2)
    before = read_manifest(folder)
    runs = {name: run_on(tmp_path / name, folder) for name in ("before", "after")}

    def learned(name):
        write_architecture(Architecture(toy.TRUNK, [toy.SCENE]), runs[name] / "student", records={str(folder): digest})

    def audited(name):
        (data,) = lineage.datasets(runs[name])
        return data["records"], [one["source"] for one in data.get("audits", {}).values()]

    digest = before.digest
    learned("before")
    assert audited("before") == ("the same", [])
    shutil.rmtree(folder)
    manifest = toy.write_dataset(folder, toy.toy_records(3, tasks=[toy.SCENE]), [toy.SCENE])
    digest = manifest.digest
    learned("after")
    for labels, expected in ((before, [["of these"], []]), (manifest, [[], ["of these"]])):
        result = Audited("scene", labels.fingerprint, "of these", 0, 60, 1000, "a method", (share,))
        manifest.audits = Audits(results={"scene": result})
        manifest.write(folder)
        assert audited("before") == ("others now", expected[0])
        assert audited("after") == ("the same", expected[1])


def test_a_teacher_with_thresholds_by_class_has_a_row_in_the_card(tmp_path):
    task = {"kind": "detection", "name": "things", "min_score": {"cup": 0.31, "box": 0.4}, "doubtful_score": 0.2}
    run = run_on(tmp_path / "run", dataset(tmp_path / "data", "MIT", yolo={"format": "onnx", "task": task}))
    assert "min_score 0.31 to 0.4 by class, doubtful_score 0.2" in readme.teacher_row(lineage.teachers(run)[0])
