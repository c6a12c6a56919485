import json
import shutil
from pathlib import Path

import pytest
import toy

from must_tf.errors import UserError
from must_tf.saving import check_digests, load_student, read_architecture, read_input_size, save_student
from must_tf.storage import sha256
from must_tf.student import Student
from must_tf.training import load_trunk

ARCHITECTURE = Path("student", "architecture.json")
WEIGHTS = Path("student", "weights.data-00000-of-00001")


@pytest.fixture(scope="module")
def student():
    return Student([toy.SCENE], toy.TRUNK)


@pytest.fixture(scope="module")
def finished(student, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    workdir.mkdir()
    save_student(student, workdir)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def change(path, **fields):
    value = json.loads(path.read_text())
    path.write_text(json.dumps({name: part for name, part in (value | fields).items() if part != "gone"}))


def test_student_comes_back_and_its_folder_says_what_its_files_hash_to(student, workdir):
    assert toy.same_weights(load_student(workdir), student)
    told = json.loads((workdir / ARCHITECTURE).read_text())["sha256"]
    files = {path.name for path in (workdir / "student").iterdir()}
    assert set(told) == files - {"architecture.json"} and len(told) == 2
    assert all(sha256(workdir / "student" / name) == digest for name, digest in told.items())


def test_student_of_a_version_that_wrote_no_hashes_opens(student, workdir):
    change(workdir / ARCHITECTURE, sha256="gone")
    assert toy.same_weights(load_student(workdir), student)


def damage(workdir):
    content = bytearray((workdir / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (workdir / WEIGHTS).write_bytes(content)


def exchange(workdir):
    save_student(Student([toy.SCENE], toy.TRUNK), workdir.parent / "other")
    shutil.copyfile(workdir.parent / "other" / WEIGHTS, workdir / WEIGHTS)


def remove(workdir):
    (workdir / WEIGHTS).unlink()


@pytest.mark.parametrize("harm", [damage, exchange, remove])
def test_weights_that_were_damaged_or_exchanged_are_refused_by_name_wherever_they_are_opened(student, workdir, harm):
    harm(workdir)
    for opened in (lambda: load_student(workdir), lambda: load_trunk(student, workdir)):
        with pytest.raises(UserError, match=r"weights\.data-00000-of-00001: (was damaged or exchanged|is missing)"):
            opened()


def test_hashes_are_of_files_in_their_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_text("a")
    check_digests(tmp_path, {"inner/a": sha256(tmp_path / "inner" / "a")})
    for name in ("../a", "/etc/hostname", "inner/../../a"):
        with pytest.raises(UserError, match="expected files of this folder"):
            check_digests(tmp_path, {name: ""})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"trunk": {"width": "wide"}}, "trunk.width: 'wide' received; expected a number"),
        ({"trunk": {"widht": 1}}, r"'trunk\.widht' is unknown; did you mean 'width'"),
        ({"trunk": {"min_level": 9}}, "trunk.min_level: 9 received, expected 2 to 5"),
        ({"trunk": "gone"}, "trunk: None received"),
        ({"tasks": "gone"}, "tasks: None received"),
        ({"tasks": [{"kind": "scenes", "name": "a"}]}, "kind 'scenes' is unknown"),
        ({"tasks": [{"kind": "depth", "name": "../../evil"}]}, "'../../evil' received"),
        ({"tasks": [{"kind": "depth", "name": "a", "convention": 3}]}, "task 'a': convention: 3 received"),
    ],
)
def test_architecture_that_is_wrong_is_named(workdir, fields, said):
    change(workdir / ARCHITECTURE, **fields)
    with pytest.raises(UserError, match=rf"architecture\.json: .*{said}"):
        read_architecture(workdir)


def test_hashes_that_are_none_are_named(workdir):
    change(workdir / ARCHITECTURE, sha256=[1])
    with pytest.raises(UserError, match=r"architecture\.json: sha256: \[1\] received"):
        load_student(workdir)


@pytest.mark.parametrize("value", ["[64, 64.0]", "[64]", '"64"', "null"])
def test_input_size_is_two_whole_numbers(tmp_path, value):
    (tmp_path / "config.json").write_text(f'{{"input_size": {value}}}')
    with pytest.raises(UserError, match=r"config\.json: input_size.* received; expected"):
        read_input_size(tmp_path)
    (tmp_path / "config.json").write_text('{"input_size": [64, 96]}')
    assert read_input_size(tmp_path) == (64, 96)
