import contextlib
import json
import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import faults
import pytest
import tensorflow as tf
from gcsfs.retry import validate_response

from must_tf import buckets, copies, storage
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.training.checkpoints import Checkpoints


@pytest.fixture(params=["s3", "gs", "az", "memory"])
def anywhere(request):
    """A new folder in a bucket of each kind of store, also of one whose server has no exclusive writing."""
    if request.param != "memory":
        request.getfixturevalue(request.param)
    return Remote(f"{request.param}://tests/{uuid.uuid4().hex}")


@pytest.fixture(autouse=True)
def soon(monkeypatch, tmp_path):
    monkeypatch.setattr(buckets, "WAITS", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setenv("MUST_TF_CACHE", str(tmp_path / "cache"))


def write(folder, files):
    for name, text in files.items():
        storage.write_bytes(folder / name, text.encode())


def test_what_is_written_is_listed_once_and_read_again(anywhere):
    folder, names = anywhere, {"a/b.txt": "one", "a/c/d.txt": "two", "e f#ü.txt": "three"}
    write(folder, names)
    assert {name: (folder / name).read_text() for name in folder.files()} == names
    assert [one.name for one in folder.iterdir()] == ["a", "e f#ü.txt"]
    assert storage.sizes(folder) == {"e f#ü.txt": 5} and (folder / "a/b.txt").stat().st_size == 3
    assert (folder / "a").is_dir() and (folder / "a").exists() and not (folder / "a").is_file()
    assert (folder / "a/b.txt").is_file() and not (folder / "a/b").exists() and not (folder / "none").is_dir()
    (folder / "a/b.txt").unlink()
    (folder / "a/b.txt").unlink(missing_ok=True)
    assert list((folder / "a").files()) == ["c/d.txt"]
    write(folder, {"new.json": json.dumps({"x": [1]})})
    assert storage.read_json(folder / "new.json") == {"x": [1]}
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        storage.read_json(folder / "none.json")


def test_listing_of_several_pages_has_each_key_once(in_s3, proxied):
    write(in_s3, {str(i): "" for i in range(8)})
    proxied.page = 3
    with proxied.answering():
        assert list(in_s3.files()) == [str(i) for i in range(8)]
    assert len(proxied.seen) == 3


def test_paths_are_those_of_pathlib():
    path = Remote("s3://bucket/runs/x")
    assert storage.location("s3://bucket/runs/x/") == path == storage.location(path)
    assert path / "a/b" == Remote("s3://bucket/runs/x/a/b") and (path / "a.tar").with_name("b") == path / "b"
    assert [str(one) for one in path.parents] == ["s3://bucket/runs", "s3://bucket"]
    assert (path.name, path.suffix, (path / "a.txt").suffix) == ("x", "", ".txt")
    with pytest.raises(UserError, match="s3://bucket/runs/x: is not a local path"):
        Path(path)
    with pytest.raises(UserError, match="s3:/bucket/x: is not a local path"):
        storage.location(Path("s3://bucket/x"))
    with pytest.raises(UserError, match="ftp://x: is not a local path, nor one of s3://"):
        storage.location("ftp://x")
    for url in ("s3://", "s3:///x", "gs:////"):
        with pytest.raises(UserError, match=f"{url}: names no bucket; expected (s3|gs)://BUCKET/PATH"):
            storage.location(url)


@pytest.mark.parametrize("refused", [storage.location, storage.local])
@pytest.mark.parametrize("url", ["s3://KEY:SECRET@bucket/x", "s3://KEY:SEC/RET@bucket/x", "ftp://me:SECRET@host/x@y"])
def test_credentials_in_a_url_are_refused_and_not_told(refused, url):
    with pytest.raises(UserError) as caught:
        refused(url)
    assert not any(word in str(caught.value) for word in ("KEY", "SEC", "RET", "me:"))
    assert str(Remote("s3://bucket/a:b@c")) == "s3://bucket/a:b@c"
    assert str(Remote("s3://arn:aws:s3:eu-west-1:1:accesspoint/x/a@b")).endswith("a@b")


def test_file_is_whole_or_not_there(bucket):
    with pytest.raises(KeyboardInterrupt), storage.replacing(bucket / "a") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not bucket.files()
    with storage.replacing(bucket / "a") as temporary:
        temporary.write_text("whole")
        assert not bucket.files()
    assert (bucket / "a").read_text() == "whole"


def test_passing_faults_are_not_seen(in_s3, proxied, tmp_path):
    write(in_s3, {"a": "x" * 1000})
    with proxied.answering(faults.INTERNAL, faults.INTERNAL, None, faults.SLOW):
        assert (in_s3 / "a").read_bytes() == b"x" * 1000
    with proxied.answering(None, faults.CUT, faults.CUT):
        (in_s3 / "a").get(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x" * 1000
    with proxied.answering(faults.INTERNAL):
        storage.write_bytes(in_s3 / "b", b"y")
    assert (in_s3 / "b").read_bytes() == b"y"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.INTERNAL, "same command continues"),
        (faults.DENIED, "give credentials"),
        (faults.EXPIRED, "give credentials"),
        (faults.SKEWED, "clock of this machine"),
        (faults.REGION, "set the region"),
        (faults.MOVED, "set the region"),
        (faults.FULL, "make room in the store"),
    ],
)
def test_lasting_faults_are_one_line_with_the_url_and_the_remedy(in_s3, proxied, monkeypatch, fault, words):
    monkeypatch.setattr(buckets, "WAITS", (0.01,))
    for act in (lambda: storage.write_bytes(in_s3 / "a", b"x"), in_s3.files):
        with proxied.answering(always=fault), pytest.raises(UserError) as caught:
            act()
        assert str(in_s3) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.UNKNOWN, "give credentials"),
        (faults.DENIED, "give credentials"),
        (faults.FULL, "make room in the store"),
    ],
)
def test_lasting_faults_of_google_are_one_line(google, google_url, monkeypatch, fault, words):
    folder = Remote(f"gs://tests/{uuid.uuid4().hex}")
    with faults.proxy(int(google_url.rpartition(":")[2])) as server, server.answering(always=fault):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        buckets._store.cache_clear()
        for act in (lambda: storage.write_bytes(folder / "a", b"x"), folder.files):
            with pytest.raises(UserError) as caught:
                act()
            assert str(folder) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)
        assert len(server.seen) <= 4  # none is tried again


@pytest.fixture
def guarded(s3, s3_port, monkeypatch):
    """Has the S3 server ask for permissions; a user without any, by whose key `s3://` is asked for."""
    import boto3
    import requests

    users = boto3.client("iam", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    name = uuid.uuid4().hex
    users.create_user(UserName=name)
    made = users.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made["SecretAccessKey"])
    buckets._store.cache_clear()
    url = f"http://127.0.0.1:{s3_port}/moto-api/reset-auth"
    requests.post(url, data=b"0", timeout=20)  # from the next request on
    yield made
    requests.post(url, data=b"inf", timeout=20)


@pytest.mark.parametrize("is_known", [True, False])
def test_user_who_may_not_read_or_write_is_told_in_one_line(guarded, in_s3, monkeypatch, is_known):
    if not is_known:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFNOBODY00000000")
        buckets._store.cache_clear()
    for act in (lambda: storage.write_bytes(in_s3 / "a", b"x"), in_s3.files, lambda: (in_s3 / "a").read_bytes()):
        with pytest.raises(UserError, match="give credentials that may do this in the environment") as caught:
            act()
        assert str(caught.value).startswith(str(in_s3)) and "\n" not in str(caught.value)
        assert guarded["SecretAccessKey"] not in str(caught.value)


def test_bucket_of_google_that_is_not_there_is_one_line(google):
    with pytest.raises(UserError, match=r"^gs://nowhere/x: no such bucket; make it, or give the name"):
        Remote("gs://nowhere/x").write_bytes(b"")
    assert not Remote("gs://nowhere/x").exists() and not Remote("gs://nowhere").files()


def test_bucket_or_server_that_is_not_there_is_one_line(s3, monkeypatch):
    with pytest.raises(UserError, match="s3://nowhere/x/a: no such bucket"):
        storage.write_bytes("s3://nowhere/x/a", b"")
    with pytest.raises(UserError, match="s3://nowhere/x: no such file or folder"):
        copies.fetched("s3://nowhere/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    buckets._store.cache_clear()
    with pytest.raises(UserError, match=r"s3://tests/x: .*127\.0\.0\.1:9.*same command continues"):
        Remote("s3://tests/x").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "az://: .*account_name.*; set it in the environment .*AZURE_STORAGE_"),
        ("nonsense", "az://: .*malformed.*; set it in the environment .*AZURE_STORAGE_"),
        ("another key", "az://tests/x: .*; give credentials that may do this in the environment"),
    ],
)
def test_azure_without_credentials_or_with_wrong_ones_is_one_line(az, monkeypatch, text, said):
    known = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    wrong = known.replace("AccountKey=Eby8", "AccountKey=Eby9") if text == "another key" else text
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", wrong)
    if not text:
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    buckets._store.cache_clear()
    with pytest.raises(UserError, match=said) as error:
        Remote("az://tests/x").exists()
    assert "\n" not in str(error.value)


def test_container_of_azure_that_is_not_there_is_one_line(az):
    with pytest.raises(UserError, match=r"^az://none/x: no such bucket; make it, or give the name"):
        Remote("az://none/x").write_bytes(b"")
    assert not Remote("az://none/x").exists() and not Remote("az://none").files()


@pytest.mark.parametrize(
    ("raised", "is_of_store"),
    [
        (lambda: json.loads("<html>"), True),  # an answer of something else
        (lambda: urlsplit("http://[::1:9000"), True),  # an address in the environment
        (lambda: validate_response(400, b"invalid argument", "b/x"), True),
        (lambda: int("a fault of ours"), False),
    ],
)
def test_wrong_value_of_an_answer_is_the_stores_fault_and_no_other(monkeypatch, raised, is_of_store):
    class Store:
        def info(self, key):
            raised()

    monkeypatch.setattr(buckets, "_store", lambda scheme, process: Store())
    with pytest.raises(UserError if is_of_store else ValueError, match="" if is_of_store else "a fault of ours"):
        Remote("s3://tests/x").exists()


def test_name_that_is_not_utf8_is_one_line_at_once(in_s3):
    with pytest.raises(UserError, match=r"/a\\udcff': its name is not UTF-8"):
        (in_s3 / "a\udcff").write_bytes(b"")


def test_missing_package_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError

    monkeypatch.setattr("fsspec.filesystem", missing)
    buckets._store.cache_clear()
    with pytest.raises(UserError, match=r"gs://: needs the package gcsfs.*must_tf\[cloud\]"):
        Remote("gs://b/x").exists()


@pytest.mark.parametrize("words", [faults.UNMET, ("PreconditionFailed", 412, "")])
def test_stores_that_say_less_than_aws_have_locks(in_s3, proxied, words):
    write(in_s3, {"a": "1"})
    with proxied.answering(words), pytest.raises(FileExistsError):
        (in_s3 / "a").create(b"2")
    assert (in_s3 / "a").read_text() == "1"


def test_mirror_of_a_lost_lock_puts_nothing(bucket):
    write(bucket, {"kept": "1", "gone": "2"})
    with pytest.raises(UserError, match=f"{bucket}: another run has taken the lock"), copies.mirrored(bucket) as mirror:
        for name in ("kept", "new"):
            storage.write_bytes(mirror / name, b"mine")
        (mirror / "gone").unlink()
        (bucket / ".lock").write_bytes(b'{"name": "another", "beat": 0}')
    assert {name: (bucket / name).read_text() for name in ("kept", "gone")} == {"kept": "1", "gone": "2"}
    assert not (bucket / "new").exists() and copies.named(f"{mirror}/kept") == f"{bucket}/kept"
    assert not list(copies.cache_folder().glob("must_tf-*/*/*"))


def test_folder_that_follows_a_bucket_has_what_is_whole_there(bucket):
    write(bucket, {"config.json": "1", "checkpoints/step-2/state": "2", "tensorboard/x": "", "best/x": ""})
    with copies.followed(bucket) as mine:
        assert not list(mine.iterdir())
        copies.catch_up(mine / "checkpoints")
        kept = (mine / "config.json").stat().st_mtime_ns
        assert contents(mine) == {"config.json": "1", "checkpoints/step-2/state": "2"}
        write(
            bucket, {"checkpoints/step-2/state": "new", "checkpoints/step-4/state": "4", "checkpoints/step-6/half": ""}
        )
        write(bucket, {copies._PARTIAL: json.dumps(["checkpoints/step-6"]), storage.LOCK: ""})
        assert (mine / "checkpoints/step-2/state").read_text() == "2"
        copies.catch_up(mine)
        found = {"config.json": "1", "checkpoints/step-2/state": "new", "checkpoints/step-4/state": "4"}
        assert contents(mine) == found and (mine / "config.json").stat().st_mtime_ns == kept
        with pytest.raises(UserError, match=f"^{bucket}/x: wrong$"), copies.followed(bucket) as other:
            raise UserError(f"{other}/x: wrong")
        (bucket / "checkpoints/step-2/state").unlink()
        copies.catch_up(mine)
        assert [path.name for path in (mine / "checkpoints").iterdir()] == ["step-4"]
    assert not mine.exists() and "checkpoints/step-6/half" in bucket.files()


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("goes_on", [False, True])
def test_new_folder_that_was_put_in_part_is_none(bucket, monkeypatch, goes_on):
    write(bucket, {"old/a": "1"})
    put, left = Remote.put, [2]

    def failing(self, path):
        left[0] -= 1
        if left[0] < 0:
            raise UserError("the network failed")
        put(self, path)

    monkeypatch.setattr(Remote, "put", failing)
    with pytest.raises(UserError, match="the network failed"), copies.mirrored(bucket) as mirror:
        for name in ("old/b", "new/deep/a", "new/deep/b"):
            storage.write_bytes(mirror / name, b"")
        try:
            copies.publish(mirror)
        finally:
            left[0] = 2 * goes_on
    assert ("new/deep/b" in bucket.files()) == goes_on
    monkeypatch.setattr(Remote, "put", put)
    with copies.mirrored(bucket) as mirror:
        found = {path.relative_to(mirror).as_posix() for path in mirror.rglob("*") if path.is_file()}
        assert found == {"old/a", "old/b"} | ({"new/deep/a", "new/deep/b"} if goes_on else set())
    assert set(bucket.files()) == found


def test_error_names_the_bucket_and_not_the_mirror(bucket):
    with pytest.raises(UserError, match=f"^{bucket}/x: wrong$"), copies.mirrored(bucket) as mirror:
        raise UserError(f"{mirror}/x: wrong")


@contextlib.contextmanager
def killed_after(changes):
    """Has buckets take so many changes; the next one ends the block, as a kill does, and only locks go."""
    left = [changes]

    def dying(change):
        def changed(self, *arguments, **options):
            if self.name != storage.LOCK:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return change(self, *arguments, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        for name in ("put", "write_bytes", "unlink"):
            patch.setattr(Remote, name, dying(getattr(Remote, name)))
        yield


@pytest.mark.parametrize("changes", range(9))
def test_folder_that_moves_is_in_one_place_whenever_a_kill_comes(in_s3, changes):
    write(in_s3, {"config": "1", "student/a": "2", "student/b": "3"})
    with killed_after(changes), copies.mirrored(in_s3) as mirror:
        (mirror / "former").mkdir()
        (mirror / "student").rename(mirror / "former" / "student")
    with copies.mirrored(in_s3) as mirror:
        found = {path.relative_to(mirror).as_posix() for path in mirror.rglob("?")}
    both = {"student/a", "student/b", "former/student/a", "former/student/b"}
    assert found in ({"student/a", "student/b"}, {"former/student/a", "former/student/b"}, both)


@pytest.mark.parametrize("changes", range(7))
def test_folder_that_is_replaced_is_never_of_two_halves(in_s3, changes):
    """A kill leaves the one of before or the new one, or none, and what is beside it."""
    write(in_s3, {"log": "1", "student/a": "1", "student/b": "1", "events/1": "1", "events/2": "1"})
    with killed_after(changes), copies.mirrored(in_s3) as mirror:
        (mirror / "log").write_text("12")
        (mirror / "events/2").write_text("12")
        for name in ("student/a", "student/b"):
            (mirror / name).unlink()
            (mirror / name).write_text("new")
    with copies.followed(in_s3) as found:
        copies.catch_up(found)
        student = {name: text for name, text in contents(found).items() if name.startswith("student")}
    assert set(student.values()) in ({"1"}, {"new"}, set()) and len(student) in (0, 2)
    with copies.mirrored(in_s3) as mirror:
        assert {"log", "events/1", "events/2"} <= set(contents(mirror))
        assert len({text for name, text in contents(mirror).items() if name.startswith("student")}) <= 1


@pytest.mark.parametrize("changes", range(5))
def test_kill_as_a_run_goes_back_leaves_its_checkpoint_whole(in_s3, changes):
    value = tf.Variable(2.0)

    def opened(mirror):
        return Checkpoints(mirror / "checkpoints", 1, {"value": value}, every=2)

    with copies.mirrored(in_s3) as mirror:
        for step in (2, 3):
            opened(mirror).save(step, {"rollbacks": 0})
    with killed_after(changes), copies.mirrored(in_s3) as mirror:
        opened(mirror).drop_after(2)
        opened(mirror).amend(2, {"rollbacks": 1})
    with copies.mirrored(in_s3) as mirror:
        assert opened(mirror).restore(on_schedule=True) in ((2, {"rollbacks": 0}), (2, {"rollbacks": 1}))
        found = opened(mirror).restore()
    assert found in ((3, {"rollbacks": 0}), (2, {"rollbacks": 1})) and (changes < 2 or found[0] == 2)


@pytest.mark.parametrize("changes", range(5))
def test_files_of_a_new_folder_are_all_there_or_none(in_s3, changes):
    with killed_after(changes), copies.mirrored(in_s3) as mirror:
        for name in ("README.md", "card.json"):
            (mirror / name).write_text("whole")
    with copies.mirrored(in_s3) as mirror:
        assert sorted(path.name for path in mirror.iterdir()) in ([], ["README.md", "card.json"])


def test_copies_follow_the_bucket_and_damage_is_found(bucket, tmp_path):
    write(bucket, {"m.onnx": "model", "m.onnx.card.yaml": "card", "other": "", "run/checkpoints/1": "", "run/a/b": "c"})
    copy = copies.fetched(bucket / "m.onnx")
    assert sorted(path.name for path in copy.parent.glob("m*")) == ["m.onnx", "m.onnx.card.yaml"]
    assert copy.read_text() == "model" and copies.named(f"{copy}: wrong") == f"{bucket}/m.onnx: wrong"
    copy.write_text("damaged")
    assert copies.fetched(bucket / "m.onnx").read_text() == "model"
    write(bucket, {"m.onnx": "newer model"})
    assert copies.fetched(bucket / "m.onnx").read_text() == "newer model"
    run = copies.fetched(bucket / "run")
    assert [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()] == ["a/b"]
    assert copies.fetched(tmp_path) == tmp_path
    with pytest.raises(UserError, match="none: no such file or folder"):
        copies.fetched(bucket / "none")


def test_copy_is_read_once_by_a_process(in_s3, monkeypatch):
    write(in_s3, {"m.onnx": "model"})
    copies.fetched(in_s3 / "m.onnx")
    read = []
    monkeypatch.setattr(copies, "sha256", lambda path: (read.append(path.name), storage.sha256(path))[1])
    assert copies.fetched(in_s3 / "m.onnx").read_text() == "model" and len(read) <= 1
    copies.fetched(in_s3 / "m.onnx")
    assert len(read) <= 1


def test_file_that_goes_while_it_is_copied_is_one_line(in_s3, monkeypatch):
    write(in_s3, {"a": "1", "b": "2"})
    get = Remote.get

    def late(self, path):
        (in_s3 / "b").unlink(missing_ok=True)
        return get(self, path)

    monkeypatch.setattr(Remote, "get", late)
    with pytest.raises(UserError, match=f"{in_s3}/b: went while it was copied; run the same command again"):
        copies.fetched(in_s3)


def test_copy_of_a_run_at_work_has_what_is_whole_and_stays(in_s3):
    write(in_s3, {"config.json": "1", "student/weights": "2", ".partial.json": '["student"]'})
    with storage.locked(in_s3):
        copy = copies.fetched(in_s3)
        assert [path.name for path in copy.iterdir()] == ["config.json"]
        (in_s3 / storage.LOCK).write_bytes(b'{"name": "another", "beat": 1}')
        assert copies.fetched(in_s3) == copy
    (in_s3 / ".partial.json").unlink()
    assert (copies.fetched(in_s3) / "student" / "weights").is_file()


def test_mirror_begins_with_what_is_there_and_puts_what_changes_in_the_order_of_writing(in_s3, proxied):
    write(in_s3, {"kept": "1", "gone": "2", "old/changed": "3"})
    with pytest.raises(ValueError), proxied.answering(), copies.mirrored(in_s3) as folder:
        assert {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()} == {
            "kept": "1", "gone": "2", "changed": "3",
        }  # fmt: skip
        for name in ("z", "a", "m"):
            storage.write_bytes(folder / name, name.encode())
        (folder / ".x.tmp").touch()
        (folder / "gone").unlink()
        copies.publish(folder / "a")
        assert sorted(in_s3.files()) == [".lock", "a", "kept", "m", "old/changed", "z"]
        (folder / "old/changed").write_text("4")
        raise ValueError
    assert {name: (in_s3 / name).read_text() for name in in_s3.files()} == {
        "a": "a", "kept": "1", "m": "m", "old/changed": "4", "z": "z",
    }  # fmt: skip
    put = [
        line.rpartition("/")[2] for line in proxied.seen if line.startswith(("PUT", "DELETE")) and ".lock" not in line
    ]
    assert put == ["z", "a", "m", "gone", "changed"]
