import dataclasses
import json

import labeled
import numpy as np
import pytest
import toy

from must_tf.convert import FORMATS, Selection, convert
from must_tf.convert.coco import Coco
from must_tf.errors import UserError

ONE = {"depth": ("inverse",), "yolo": ("boxes",)}  # formats of one task, and which


class Killed(BaseException):
    pass


def contents(folder):
    return {name: (folder / name).read_bytes() for name in labeled.files(folder)}


@pytest.mark.parametrize("to", FORMATS)
def test_a_killed_run_gives_what_one_run_gives(dataset, tmp_path, monkeypatch, to):
    selection = Selection(ONE.get(to, ()))
    whole = tmp_path / "whole"
    convert(dataset, to, whole, selection)
    with monkeypatch.context() as patch:  # a kill removes nothing
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        calls = iter(range(9))
        with pytest.raises(Killed):
            convert(dataset, to, tmp_path / "out", selection, progress=lambda: kill(next(calls) == 1))
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {".plan.json", ".unfinished"}
    convert(dataset, to, tmp_path / "out", selection)
    assert contents(tmp_path / "out") == contents(whole)
    assert not [name for name in contents(whole) if "/." in f"/{name}"]


def kill(now):
    if now:
        raise Killed


def test_a_kill_between_the_last_renames_is_mended(dataset, tmp_path, monkeypatch):
    convert(dataset, "coco", tmp_path / "whole")
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("os.sync", lambda: kill(True))
        convert(dataset, "coco", out)
    (out / ".unfinished/images").rename(out / "images")
    (out / "images/a.png").write_bytes(b"")
    convert(dataset, "coco", out)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_folder_with_other_files_is_refused_and_so_is_a_finished_one(dataset, tmp_path):
    out = tmp_path / "out"
    convert(dataset, "csv", out)
    before = contents(out)
    with pytest.raises(UserError, match="holds other files; give an empty or a new output folder"):
        convert(dataset, "csv", out)
    assert contents(out) == before


def test_an_unfinished_one_of_other_arguments_is_refused(dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        convert(dataset, "csv", tmp_path / "out", progress=lambda: kill(True))
    with pytest.raises(UserError, match=r"made with other arguments.*min_score"):
        convert(dataset, "csv", tmp_path / "out", Selection(min_score=0.5))


def test_an_error_leaves_the_folder_empty_for_the_next_try(dataset, tmp_path):
    with pytest.raises(UserError, match="none of 5 images has a label that is selected"):
        convert(dataset, "coco", tmp_path / "out", Selection(("stuff",), origins=("det-1",)))
    assert labeled.files(tmp_path / "out") == []
    assert convert(dataset, "coco", tmp_path / "out").count == 4


@pytest.mark.parametrize("to", ["coco", "records"])
@pytest.mark.parametrize(("data", "selection", "passes"), [
    ("", {}, 1), ("[:50%]", {}, 1), ("", {"tasks": ("boxes",)}, 1), ("", {"tasks": ("boxes",), "count": 1}, 2),
])  # fmt: skip
def test_progress_counts_all_images_though_some_are_left_out(dataset, tmp_path, to, data, selection, passes):
    calls = []
    convert(f"{dataset}{data}", to, tmp_path / "out", Selection(**selection), progress=lambda: calls.append(1))
    assert len(calls) == 5 * passes


def test_images_are_the_stored_bytes(converted, records):
    out, _ = converted("csv")
    for name in ("a.png", "night/b.png", "night/c d.png"):
        assert (out / "images" / name).read_bytes() == records[name].encoded


def test_links_lead_to_the_files_and_other_bytes_are_copied(converted, records, tmp_path):
    root = tmp_path / "photos"
    (root / "night").mkdir(parents=True)
    for name in ("a.png", "night/b.png"):
        (root / name).write_bytes(records[name].encoded)
    (root / "night/c d.png").write_bytes(b"a turned JPEG")
    out, done = converted("csv", images="link", root=str(root))
    assert (out / "images/a.png").readlink() == (root / "a.png").resolve()
    assert not (out / "images/night/c d.png").is_symlink()
    assert (out / "images/night/c d.png").read_bytes() == records["night/c d.png"].encoded
    assert any("not linked" in line and line.endswith(": 1") for line in done.lines)


def test_a_file_to_link_that_is_missing_is_named(converted, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"photos/a\.png: no such file; --root"):
        converted("csv", images="link", root=str(tmp_path / "photos"))
    with pytest.raises(UserError, match="--root"):
        converted("csv", images="link")


def test_without_images_names_stay_and_no_image_is_written(converted):
    out, done = converted("coco", images="none", tasks=("boxes",))
    assert labeled.files(out) == ["annotations/instances_boxes.json"]
    content = json.loads((out / "annotations/instances_boxes.json").read_text())
    assert {one["file_name"] for one in content["images"]} == {"a.png", "night/b.png", "night/c d.png"}
    assert not [line for line in done.lines if "another name" in line]


def test_images_of_one_name_stay_apart(tmp_path):
    records = [toy.record(toy.random_image(np.random.default_rng(i), 8, 8), {"scene": i}) for i in range(2)]
    for record in records:
        record.filename = "a.png"
    toy.write_dataset(tmp_path / "data", records, (labeled.SCENE,), num_shards=1)
    done = convert(tmp_path / "data", "folders", tmp_path / "out")
    assert labeled.files(tmp_path / "out") == ["indoor/a.png", f"outdoor/a-{records[1].id}.png"]
    assert any("another name" in line for line in done.lines)
    with pytest.raises(UserError, match="that of an earlier image"):
        convert(tmp_path / "data", "csv", tmp_path / "none", images="none")


def test_slices_divide_the_images(dataset, tmp_path):
    parts = []
    for cut, out in (("[:50%]", tmp_path / "a"), ("[50%:]", tmp_path / "b")):
        done = convert(f"{dataset}{cut}", "coco", out)
        parts.append({path.name for path in (out / "images").rglob("*.*")})
        assert done.count == len(parts[-1]) and any(f"outside of the slice {cut}: " in line for line in done.lines)
    convert(dataset, "coco", tmp_path / "whole")
    whole = {path.name for path in (tmp_path / "whole/images").rglob("*.*")}
    assert parts[0] | parts[1] == whole and not parts[0] & parts[1] and all(parts)
    with pytest.raises(UserError, match="2 folders received; coco takes one: join them first, must convert"):
        convert(f"{dataset},{tmp_path}", "coco", tmp_path / "two")


def test_an_unknown_format_is_one_line(dataset, tmp_path):
    with pytest.raises(UserError, match="--to=cocoo: no such format; did you mean 'coco'"):
        convert(dataset, "cocoo", tmp_path / "out")


def test_a_new_format_is_one_class(dataset, tmp_path, monkeypatch):
    class Counted(Coco):
        def add(self, record, name):
            (self.folder / "count").open("a").write(f"{name}\n")

        def finish(self):
            pass

    monkeypatch.setitem(FORMATS, "counted", Counted)
    done = convert(dataset, "counted", tmp_path / "out", images="none", selection=Selection(("boxes",)))
    assert done.count == (tmp_path / "out/count").read_text().count("\n") == 3
    assert dataclasses.asdict(done)["labels"] == {"boxes": 3}
