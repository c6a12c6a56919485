import functools
import json

import numpy as np
import pytest
import toy

from must_tf.tasks import to_json


@pytest.fixture
def must(run_verb):
    return functools.partial(run_verb, "inspect")


def shards(folder):
    return sorted(folder.glob("*.tfrecord-*"))


@pytest.mark.parametrize(
    "argv", [["{}"], ["{}", "--pictures=1"], ["--pictures", "1", "{}"], ["--data={}"], ["--data", "{}"]]
)
def test_the_folder_stands_alone_or_with_its_flag(must, data, argv):
    code, out, err = must(*(text.format(data) for text in argv))
    assert code == 0 and not err and f"{data}: 22 records in 2 shards" in out
    assert (data / "report.html").exists()


def test_two_folders_are_compared_and_three_are_one_too_many(must, data):
    for argv in ([data, data], [f"--data={data}", data], [data, f"--against={data}"]):
        code, out, err = must(*argv)
        assert code == 0 and not err and "images: 22 in both" in out and "manifests: no differences" in out
        assert "things: labels of images in both: 18 the same, 0 different, 0 in A alone, 0 in B alone" in out
        assert "  chair: agreement 100.0%" in out and not (data / "report.html").exists()
    code, _, err = must(data, data, data)
    assert code == 2 and len(err) == 1 and str(data) in err[0]


def test_some_shards_are_read_and_the_others_measured(must, data):
    code, out, err = must(data, "--shards=1", "--pictures=2")
    assert code == 0 and not err and "1 of 2 shards were read, with 11 of 22 records; of the others" in out
    assert "1 of 2 shards were read" in (data / "report.html").read_text()
    shards(data)[1].write_bytes(b"cut short")
    code, _, err = must(data, "--shards=1")
    assert code == 1 and len(err) == 1 and f"{shards(data)[1]}: has 9 bytes of" in err[0]
    shards(data)[0].unlink()
    code, _, err = must(data, "--shards=1")
    assert code == 1 and len(err) == 2 and any("00000-of-00002: is missing" in line for line in err)


def test_duplicates_and_leaks_are_listed(must, data, tmp_path):
    toy.write_dataset(tmp_path / "other", toy.toy_records(3), num_shards=1)
    code, out, err = must("--duplicates", data)
    assert code == 0 and not err and "of 22 images are nearly the same as an earlier one" in out
    code, out, err = must(f"--leaks={data},{tmp_path / 'other'}", f"--out={tmp_path / 'pairs.csv'}")
    assert code == 1 and not err and "3 of 3 images" in out and "(same file)" in out
    rows = (tmp_path / "pairs.csv").read_text().splitlines()
    assert (
        rows[0] == "image,same_as,kind,bits"
        and len(rows) == 4
        and all(row.endswith(",same file,0") for row in rows[1:])
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--leaks=a"], "TRAIN,TEST"),
        (["--leaks=a,b", "--data=c"], "--data: received with --leaks"),
        (["--data=c", "--to=coco"], "--to: received alone; expected with --audit only"),
        (["--data=c", "--duplicates", "--pictures=3"], "expected to see a whole dataset only"),
        (["--leaks=a,b"], "a: no such folder"),
        (["--leaks=a,b", "--duplicates"], "one question at a time"),
        ([], "not given: --data"),
    ],
)
def test_questions_that_cannot_be_answered_are_one_line(must, argv, said):
    code, _, err = must(*argv)
    assert code == 2 and len(err) == 1 and said in err[0]


def test_statistics_are_printed(must, data, tmp_path):
    code, out, _ = must(data, f"--out={tmp_path / 'page.html'}", "--pictures=2")
    assert code == 0 and (tmp_path / "page.html").exists() and not (data / "report.html").exists()
    for words in ("classes: ", "score: ", "boxes per image: ", "share of ignored pixels: ", "depth in meters: "):
        assert words in out
    for words in (
        "longer side, as a share of the image's: ",
        "side of ",
        "degrees from up: ",
        "% of records",
        "bytes per label",
    ):
        assert words in out


def test_labels_that_can_hardly_be_meant_are_told(must, tmp_path):
    deep = np.linspace(1000, 4000, 20 * 30).reshape(20, 30)
    records = [toy.record(np.full((20, 30, 3), value, np.uint8), {"depth": deep}, "a-teacher") for value in range(3)]
    toy.write_dataset(tmp_path / "d", records, [toy.DEPTH], 1)
    toy.change_manifest(
        tmp_path / "d", teachers={"a-teacher": {"task": to_json(toy.DEPTH)}}, warnings=["3 images: dark"]
    )
    code, out, _ = must(tmp_path / "d", "--pictures=0")
    assert "  warning: 3 images: dark\n" in out
    assert code == 0 and "warning: depth: labels by a-teacher: half of the pixels are farther than 2,500 m" in out
    assert "farther than 2,500 m" in (tmp_path / "d" / "report.html").read_text()
    (line,) = [line for line in out.splitlines() if "farther than 2,500 m" in line]
    of_labeling = line.strip().removeprefix("warning: ").replace("2,500", "2,600")  # with a sample of its own
    toy.change_manifest(tmp_path / "d", warnings=[of_labeling])
    code, out, _ = must(tmp_path / "d", "--pictures=0")
    assert code == 0 and f"  warning: {of_labeling}\n" in out and out.count("half of the pixels") == 1


def test_images_that_are_there_twice_are_told(must, tmp_path):
    toy.write_dataset(tmp_path / "d", toy.toy_records(3) + toy.toy_records(2), num_shards=2)
    code, out, err = must(tmp_path / "d", "--pictures=0")
    assert code == 0 and not err
    places = [f"record {i} of toy-train.tfrecord-0000{shard}-of-00002" for i, shard in ((2, 0), (0, 1))]
    assert f"copies: 2 records have an image of one before, as {' and '.join(places)}" in out


def test_a_teacher_is_compared_with_itself_on_mirror_images(must, data, toy_run):
    code, out, _ = must(data, f"--teachers=depth=student:{toy_run}", "--pictures=3")
    (line,) = [line for line in out.splitlines() if "on mirror images" in line]
    assert code == 0 and "depth against toy.depth-" in line and "delta1" in line and "(3 images)" in line
    assert "on mirror images" in (data / "report.html").read_text()


def test_teachers_take_the_flags_of_labeling(must, data, toy_run):
    teacher = f"--teachers=things=student:{toy_run}"
    assert must(data, teacher, "--thresholds=things.min_score=0.9", "--pictures=1")[0] == 0
    for flag, said in (
        ("--thresholds=other.min_score=0.9", "other"),
        ("--cards.things.range=[0, 1]", "things"),
    ):
        code, _, error = must(data, teacher, flag)
        (line,) = error
        assert code == 2 and said in line


@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "flipped", "empty", "a folder"])
def test_a_damaged_shard_is_named_and_the_others_are_read(must, data, damage):
    first = shards(data)[0]
    content = first.read_bytes()
    first.unlink()
    if damage == "a folder":
        first.mkdir()
    elif damage != "missing":
        flipped = content[:500] + bytes([content[500] ^ 4]) + content[501:]
        changed = {"truncated": content[:-7], "longer": content + b"x" * 30, "flipped": flipped, "empty": b""}
        first.write_bytes(changed[damage])
    code, out, err = must(data, "--pictures=22")
    assert code == 1 and err and all(line.startswith(f"must: problem: {first}: ") for line in err)
    read = int(out.partition(" records in 2 shards")[0].rpartition(": ")[2])
    assert read >= 11 and (read > 11) == (damage in ("truncated", "longer"))
    page = (data / "report.html").read_text()
    assert 'role="alert"' in page and page.count('alt="image ') == read


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shards": 3}, "damaged"),
        ({"shards": [{"name": "x"}]}, "damaged"),
        ({"tasks": [{"kind": "depht", "name": "depth"}]}, "depht"),
        ({"teachers": {"t": 3}}, "damaged"),
        ({"schema": 7}, "schema 7"),
    ],
)
def test_a_damaged_manifest_is_one_line(must, data, fields, words):
    toy.change_manifest(data, **fields)
    code, _, err = must(data)
    assert code == 2 and len(err) == 1 and err[0].startswith("must: error: ") and words in err[0]
    assert "manifest.json" in err[0] or "kind" in err[0]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"schema": 1}'])
def test_what_is_no_manifest_is_one_line(must, data, content):
    (data / "manifest.json").write_bytes(content)
    code, _, err = must(data)
    assert code == 2 and len(err) == 1 and "manifest.json" in err[0]


@pytest.mark.slow
def test_any_flipped_byte_of_a_manifest_ends_in_lines(must, tmp_path):
    toy.write_dataset(tmp_path / "d", toy.toy_records(2), num_shards=1)
    path = tmp_path / "d" / "manifest.json"
    content = path.read_bytes()
    json.loads(content)
    for index in range(0, len(content), 7):
        path.write_bytes(content[:index] + bytes([content[index] ^ (1 << index % 8)]) + content[index + 1 :])
        code, _, err = must(tmp_path / "d", "--pictures=0")
        assert code in (0, 1, 2) and bool(err) == (code != 0)
        assert all(line.startswith(("must: error: ", "must: problem: ")) for line in err), err
