"""Before its first shard, another machine shows that it would label as the driver does."""

import pickle
import re
import shutil

import pytest
import toy

from must_tf.labeling.runners import inspection
from must_tf.labeling.shard import Job
from must_tf.records import Plan, pending


@pytest.fixture
def job(folder, teachers, tmp_path):
    """A job of a run that has begun."""
    from must_tf.sources import open_source

    plan = Plan(tmp_path / "out", "labeled", "train", tuple(one.task for one in teachers), 1, {})
    pending(plan)
    return Job(plan, 0, open_source(str(folder), 10).shards[0], tuple(teachers), 2)


def inspected(job, told=None):
    return inspection.inspected(pickle.dumps(told or inspection.Example.of(job)))


def test_machine_like_the_driver_passes(job):
    assert inspected(job) == ""


def test_machine_without_the_folder_of_records_is_named(job):
    told = inspection.Example.of(job)
    shutil.rmtree(job.plan.folder)
    assert "out: is not the folder of --out that the driver sees; each node needs the same files" in inspected(
        job, told
    )


def test_machine_with_other_images_or_none_is_named(job, folder):
    told = inspection.Example.of(job)
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())
    assert "0.png: is another image there, or none" in inspected(job, told)
    (folder / "0.png").unlink()
    assert re.search(r"0\.png: is another image there, or none \(.*0\.png: cannot be read", inspected(job, told))


def test_machine_without_the_file_of_a_teacher_or_with_another_one_is_named(job, toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr("must_tf.teachers.loading.load_once", lambda spec: toy.load(spec.task, spec.where))
    run = shutil.copytree(toy_run, tmp_path / "run")
    teachers = tuple(toy.load_all([f"scene=student:{run}"]))
    job = Job(job.plan, 0, job.read, teachers, 2)
    told = inspection.Example.of(job)
    assert inspected(job, told) == ""
    (entry,) = told.described.values()
    entry["libraries"]["tensorflow"] = "1.15"
    said = rf'^teacher scene=student:{run}: is another one than .* \(libraries\.tensorflow: "1\.15", now "2\..* there\)'
    assert re.search(rf"{said}; each node needs the same packages", inspected(job, told))
    entry["sha256"] = "0" * 64
    assert f'(sha256: "{"0" * 64}", now "{teachers[0].sha256}" there); each node needs' in inspected(job, told)
    example = pickle.dumps(told)
    shutil.rmtree(run)
    assert "run: no such folder; each node needs the same files under the same paths" in inspection.inspected(example)
