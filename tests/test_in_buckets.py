"""What a command reads and writes may lie in a bucket; the result is that of a disk."""

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import faults
import numpy as np
import pytest
import tensorflow as tf
import toy

import must_tf
from must_tf import buckets, copies, leases, storage
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.pipeline import training_batches
from must_tf.records import open_dataset, shard_cache
from must_tf.records.shard_cache import ShardCache
from must_tf.sources.images import find_images, read_image, read_images
from must_tf.teachers import TeacherSpec
from must_tf.training import load_student, train

pytestmark = pytest.mark.usefixtures("eagerly")


class Killed(BaseException):
    pass


@pytest.fixture
def bucket(s3, monkeypatch):
    """A new folder in a bucket."""
    monkeypatch.setattr(buckets, "WAITS", (0.01, 0.01, 0.01))
    return Remote(f"s3://tests/{uuid.uuid4().hex}")


def upload(folder, place):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.write_bytes(place / path.relative_to(folder).as_posix(), path.read_bytes())
    return place


def contents(folder):
    """Returns {name: bytes} of the files in a folder, here or in a bucket."""
    if isinstance(folder, Remote):
        return {name: (folder / name).read_bytes() for name in folder.files()}
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_of_a_bucket_are_found_as_those_of_a_disk(folder, bucket, tmp_path):
    (folder / "deep" / ".hidden").mkdir(parents=True)
    for name in ("deep/a.JPG", "deep/.hidden/b.png", "notes.md"):
        (folder / name).write_bytes((folder / "0.png").read_bytes())
    photos = upload(folder, bucket / "photos")
    for what in ("", "/*.png", "/**/*.JPG", "/deep/**/*", "/?.png", "/0.png"):
        here, there = find_images(f"{folder}{what}"), find_images(f"{photos}{what}")
        assert [name.removeprefix(str(folder)) for name in here] == [name.removeprefix(str(photos)) for name in there]
    storage.write_bytes(bucket / "list.txt", b"photos/0.png\nphotos/gone.png\n")
    listed = find_images(str(bucket / "list.txt"))
    assert listed == [f"{photos}/0.png", f"{photos}/gone.png"]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    assert find_images(tmp_path / "list.txt") == listed
    (tmp_path / "web.txt").write_text(f"{listed[0]}\nhttps://host/a.png\n")
    storage.write_bytes(bucket / "web.txt", (tmp_path / "web.txt").read_bytes())
    for web in (tmp_path / "web.txt", str(bucket / "web.txt")):
        with pytest.raises(UserError, match=r"web\.txt: line 2: https://host/a\.png: is not .*download the image"):
            find_images(web)
    for name in ("[1]", "what?"):  # as on a disk, a folder of this name comes before a glob
        upload(folder, bucket / name)
        assert find_images(f"{bucket}/{name}")[0] == f"{bucket}/{name}/0.png"
    record, gone = (read_image(path, root=str(photos)) for path in listed)
    assert record.filename == "0.png" and "gone.png" in gone.name and "cannot be read" in gone.reason
    with pytest.raises(UserError, match="s3://nowhere/photos: no such folder or file"):
        find_images("s3://nowhere/photos")
    with pytest.raises(UserError, match=r"--images=coco:s3://b/x\.json: is not a local path"):
        must_tf.label("coco:s3://b/x.json", out=bucket / "out")


def test_many_images_of_a_bucket_are_fetched_at_the_same_time_and_come_in_their_order(folder, monkeypatch):
    files = sorted(folder.iterdir())
    together = threading.Barrier(16, timeout=20)  # who waits for the others alone breaks it

    def read_bytes(self):
        if int(self.name) < 32:
            together.wait()
        return files[int(self.name) % len(files)].read_bytes() + b"\0" * int(self.name)  # no copies

    monkeypatch.setattr(Remote, "read_bytes", read_bytes)
    names = [f"s3://tests/{number}" for number in range(40)]
    assert [entry.name for entry in read_images(names)] == names


def test_killed_labeling_from_bucket_to_bucket_ends_with_the_bytes_of_a_disk(folder, bucket, tmp_path):
    label(folder, [toy.segmenter()], tmp_path / "out", 2, 2)
    photos, out = upload(folder, bucket / "photos"), bucket / "out"
    with toy.writing_shards(must_tf.labeling.shard, killed_at=1):
        label(str(photos), [toy.segmenter()], str(out), 2, 2)
    with toy.writing_shards(must_tf.labeling.shard) as written:
        dataset = must_tf.label(photos, [toy.segmenter()], out, batch_size=2, images_per_shard=2)
    assert written == [1, 2] and dataset.folder == out
    here, there = contents(tmp_path / "out"), contents(out)
    assert here.keys() == there.keys()
    differ = {name for name in here if here[name] != there[name]}
    assert differ == {".plan.json", "manifest.json"}  # which name the images
    assert b"secret" not in there["manifest.json"]
    with pytest.raises(UserError, match=f"{out}: was made with other arguments"):
        label(str(photos), [toy.segmenter()], str(out), 3, 2)

    inspection = must_tf.inspect(out)
    assert not inspection.findings.problems and inspection.findings.records == 5
    assert (out / "report.html").is_file() and inspection._repr_html_()
    for data, to in ((tmp_path / "out", tmp_path / "masks"), (out, bucket / "masks")):
        must_tf.convert(data, "masks", to)
    assert contents(tmp_path / "masks") == contents(bucket / "masks")
    again = must_tf.label(out, [toy.classifier(name="fake-2")], tmp_path / "again")
    assert again.manifest.count == 5 and set(again.manifest.counts) == {"stuff", "scene"}


@pytest.mark.parametrize("written", [1, 4])
def test_store_that_fills_up_is_one_line_and_nothing_half_written_is_whole(
    folder, proxied, tmp_path, monkeypatch, written
):
    """Its lock and `written` - 1 other files are there before it is full; what is full deletes no lock either."""
    monkeypatch.setattr(leases, "LEASE", 4.0)
    label(folder, [toy.segmenter()], tmp_path / "whole", 2, 2)
    out = Remote(f"s3://tests/{uuid.uuid4().hex}")
    proxied.methods = {"PUT", "POST"}
    full = "make room in the store, and the same command continues the work"
    with proxied.answering(*[None] * written, always=faults.FULL), pytest.raises(UserError, match=full) as error:
        label(str(folder), [toy.segmenter()], str(out), 2, 2)
    assert str(out) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="manifest"):
        open_dataset(out)
    label(str(folder), [toy.segmenter()], str(out), 2, 2)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("written", [1, 3, 6])
def test_store_that_fills_up_while_a_run_writes_its_checkpoints_is_one_line(toy_data, proxied, tmp_path, written):
    experiment = toy.experiment(toy_data, tasks=[toy.SCENE])
    whole = train(experiment, tmp_path / "whole")
    run = Remote(f"s3://tests/{uuid.uuid4().hex}")
    proxied.methods = {"PUT", "POST"}
    full = "make room in the store, and the same command continues the work"
    with proxied.answering(*[None] * written, always=faults.FULL), pytest.raises(UserError, match=full) as error:
        train(experiment, run)
    assert str(run) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError):
        load_student(run)
    assert toy.same_weights(train(experiment, run), whole) and toy.same_weights(load_student(run), whole)


def test_records_in_a_bucket_are_inspected_and_converted(toy_data, bucket, tmp_path):
    data = upload(toy_data, bucket / "data")
    inspection = must_tf.inspect(data)
    assert not inspection.findings.problems and inspection.findings.records == 22
    assert (data / "report.html").is_file() and inspection._repr_html_()
    for where, to in ((toy_data, tmp_path), (data, bucket)):
        must_tf.convert(where, "masks", to / "masks", tasks=[toy.STUFF.name])
        must_tf.convert(where, "records", to / "scenes", tasks=[toy.SCENE.name])
    assert contents(tmp_path / "masks") == contents(bucket / "masks")
    here, there = (contents(folder / "scenes") for folder in (tmp_path, bucket))
    assert {name for name in here if here[name] != there.get(name)} == {".plan.json", "manifest.json"}


def test_batches_from_a_bucket_are_those_of_a_disk_within_a_small_cache(bucket, tmp_path, monkeypatch):
    toy.write_dataset(tmp_path / "data", toy.toy_records(70, tasks=[toy.SCENE]), [toy.SCENE], num_shards=35)
    place = upload(tmp_path / "data", bucket / "data")
    size = sum(shard.bytes for shard in open_dataset(place).manifest.shards)
    cache = ShardCache(tmp_path / "cache", 0.7 * size)
    cache.folder.mkdir()
    monkeypatch.setattr(shard_cache, "shared", lambda: cache)
    monkeypatch.setattr(shard_cache, "_most_bytes", cache.most_bytes)
    here, there = (
        training_batches([open_dataset(folder)], [toy.SCENE], [toy.VIEW], 5, 3, start=4).take(30)
        for folder in (tmp_path / "data", place)
    )
    for one, other in zip(here, there, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= size
    monkeypatch.setattr(shard_cache, "_most_bytes", 1)
    with pytest.raises(UserError, match=r"--cache_gb=1e-09: the shards in buckets that are read at the same time"):
        training_batches([open_dataset(place)], [toy.SCENE], [toy.VIEW], 5)


def test_shards_that_were_replaced_are_read_anew(bucket, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    cache = ShardCache(tmp_path / "cache", 10**9)
    monkeypatch.setattr(shard_cache, "shared", lambda: cache)
    monkeypatch.setattr(shard_cache, "drop_former", cache.drop_former)
    for seed in (1, 2):
        here = tmp_path / str(seed)
        toy.write_dataset(here, toy.toy_records(2, seed=seed, tasks=[toy.SCENE]), [toy.SCENE])
        dataset = open_dataset(upload(here, bucket / "data"))
        ids = [[record.id for record in one.records()] for one in (open_dataset(here), dataset)]
        assert ids[0] == ids[1]
    fetched = [path.stat().st_mtime_ns for path in cache.folder.iterdir()]
    assert [record.id for record in open_dataset(dataset.folder).records()] == ids[0]
    assert [path.stat().st_mtime_ns for path in cache.folder.iterdir()] == fetched


def test_cache_keeps_what_is_held_and_drops_the_oldest(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_cache, "_RECENT", 1)
    urls = [str(bucket / str(i)) for i in range(6)]
    for url in urls:
        storage.write_bytes(url, b"x" * 10)
    cache = ShardCache(tmp_path, 20)
    cache.advance(0, urls[:2], urls[2:3])
    assert [cache.path(url).read_bytes() for url in urls[:5]] == [b"x" * 10] * 5
    assert all(cache.path(url).is_file() for url in urls[:2])
    assert len(list(tmp_path.glob("*"))) <= 4
    with pytest.raises(UserError, match="none: is missing"):
        cache.path(str(bucket / "none"))
    cache.advance(0, urls[4:], [])
    assert all(cache.path(url).is_file() for url in urls[4:])
    assert len(list(tmp_path.glob("*"))) == 2
    cache.release()
    assert cache.path(urls[0]).is_file() and len(list(tmp_path.glob("*"))) == 2


def test_run_in_a_bucket_is_taken_up_on_an_empty_machine(toy_data, bucket, tmp_path, monkeypatch):
    data = upload(toy_data, bucket / "data")
    fields = {"tasks": [toy.SCENE], "validation": str(data), "evaluate_every": 2, "best": "scene/top1"}
    whole = train(toy.experiment(data, **fields), tmp_path / "run")
    put = copies._Mirror.publish

    def killed(path):
        put(next(mirror for mirror in copies._mirrors if path.is_relative_to(mirror.folder)))
        monkeypatch.setattr(copies._Mirror, "publish", lambda self: None)  # nothing comes after a kill
        raise Killed

    monkeypatch.setattr(must_tf.training.checkpoints, "publish", killed)
    run = bucket / "runs" / "x"
    with pytest.raises(Killed):
        must_tf.train(toy.experiment(data, **fields), run)
    assert "checkpoints/step-00000002/state.json" in run.files() and "student/weights.index" not in run.files()
    monkeypatch.setattr(copies._Mirror, "publish", put)
    monkeypatch.setattr(must_tf.training.checkpoints, "publish", copies.publish)
    student = must_tf.train(None, run)
    assert student.workdir == str(run)
    assert toy.same_weights(student, whole) and toy.same_weights(load_student(run), whole)
    assert toy.same_weights(load_student(run / "best"), load_student(tmp_path / "run" / "best"))
    here, there = (
        {name for name in contents(folder) if not name.startswith("tensorboard")} for folder in (tmp_path / "run", run)
    )
    assert here == there and (run / "metrics.jsonl").read_bytes() == (tmp_path / "run" / "metrics.jsonl").read_bytes()

    scored = must_tf.evaluate(run)
    assert scored.path == run / "evaluation.json" and scored.path.is_file() and scored.workdir == str(run)
    teacher = toy.load(toy.SCENE.name, f"student:{run}")
    assert teacher.describe()["path"] == str(run)
    with pytest.raises(UserError, match="s3://nowhere/x: no such file or folder"):
        TeacherSpec.of("scene", "student:s3://nowhere/x")


def test_run_in_a_bucket_is_exported_finetuned_transferred_and_reported(classifier_run, bucket, tmp_path):
    toy.write_dataset(tmp_path / "data", toy.toy_records(5, tasks=[toy.SCENE]), [toy.SCENE])
    data, run = upload(tmp_path / "data", bucket / "data"), upload(classifier_run, bucket / "runs" / "x")
    config = storage.read_json(run / "config.json")
    storage.write_json(run / "config.json", config | {"train": ["data"]})  # as of a command that ran in the bucket
    exported = must_tf.export(run, bucket / "export", "tf_keras")
    assert exported.folder == bucket / "export" and "tf_keras/backbone.keras" in repr(exported)
    card = storage.read_json(bucket / "export" / "card.json")
    assert [(entry["folder"], entry["images"]) for entry in card["data"]] == [("data", 5)]
    files = contents(bucket / "export")
    assert must_tf.export(run, bucket / "export", "tf_keras").parities == exported.parities
    assert contents(bucket / "export") == files and "card.json" in files and not any("cache" in name for name in files)

    experiment = toy.experiment(data, tasks=[toy.SCENE], steps=1, test=str(data))
    student = must_tf.finetune(experiment, run, bucket / "tuned")
    assert student.workdir == str(bucket / "tuned")
    assert toy.same_weights(student, load_student(bucket / "tuned"))

    table = must_tf.transfer(experiment, {"random": "", "mine": str(run)}, bucket / "transfer")
    assert storage.read_json(bucket / "transfer" / "transfer.json") == table.to_json()
    assert not any("/" not in name and name.startswith(".") for name in (bucket / "transfer").files())

    page = bucket / "report.html"
    must_tf.report.report(page, data, [run, bucket / "tuned"], run, bucket / "transfer" / "transfer.json")
    text = page.read_text()
    assert all(f">{title}</h2>" in text for title in ("Labels", "Datasets")) and str(copies.cache_folder()) not in text


CONFIG = """
import toy

def get_config(data):
    return toy.experiment(data, tasks=[toy.SCENE], steps=60)
"""


@pytest.mark.slow
def test_process_killed_in_a_bucket_is_taken_up_by_another_one_with_an_empty_disk(toy_data, bucket, tmp_path):
    """It waits for a minute, because the lock of the killed one stays."""
    data, run = upload(toy_data, bucket / "data"), bucket / "run"
    (tmp_path / "c.py").write_text(CONFIG)
    argv = [sys.executable, "-m", "must_tf.cli", "train", f"--config={tmp_path / 'c.py'}:{data}"]
    environment = os.environ | {"PYTHONPATH": str(Path(toy.__file__).parent)}
    subprocess.run([*argv, f"--workdir={tmp_path / 'whole'}"], env=environment, check=True)
    process = subprocess.Popen([*argv, f"--workdir={run}"], env=environment)
    while "checkpoints/step-00000010/state.json" not in run.files() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert (run / ".lock").is_file() and not (run / "student").exists()
    elsewhere = environment | {"MUST_TF_CACHE": str(tmp_path / "elsewhere")}
    subprocess.run([*argv, f"--workdir={run}"], env=elsewhere, check=True)
    assert toy.same_weights(load_student(run), load_student(tmp_path / "whole"))
    assert (run / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert not (run / ".lock").exists() and not list((tmp_path / "elsewhere").glob("must_tf-*"))
