import functools
import json

import pytest


@pytest.fixture
def must(run_verb):
    return functools.partial(run_verb, "convert")


def test_what_was_written_and_left_out_is_printed(must, toy_data, tmp_path):
    code, out, _ = must(toy_data, "--to=coco", f"--out={tmp_path / 'coco'}")
    assert code == 0 and f"{tmp_path / 'coco'}: 22 images as coco" in out
    assert "  things: 18 labeled" in out and "task 'scene': is classification; the format takes" in out
    assert (tmp_path / "coco/annotations/instances_things.json").exists()


def test_filters_are_flags(must, toy_data, tmp_path):
    code, out, _ = must(
        toy_data, "--to=coco", f"--out={tmp_path / 'out'}", "--tasks=things", "--classes=table", "--min_score=0.5",
        "--origin=human", "--count=3", "--order=uncertain", "--images=none",
    )  # fmt: skip
    content = json.loads((tmp_path / "out/annotations/instances_things.json").read_text())
    assert code == 0 and "3 images as coco" in out and len(content["images"]) == 3
    assert [one["name"] for one in content["categories"]] == ["table"]
    assert all(one["score"] >= 0.5 for one in content["annotations"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--to=cocoo"], "did you mean 'coco'"),
        (["--to=coco", "--tasks=scene"], "is classification; the format takes detection, instances and segmentation"),
        (["--to=coco", "--classes=chairs"], "did you mean 'chair'"),
        (["--to=coco", "--min_score=2"], "min_score"),
        (["--to=folders", "--images=none"], "--images=none"),
        (["--to=coco", "--images=link"], "--root"),
        (["--to=coco", "--order=uncertain"], "--count"),
        (["--to=coco", "--root=photos"], "--images=link"),
        ([], "--to"),
    ],
)
def test_mistakes_are_one_line(must, toy_data, tmp_path, argv, said):
    code, _, err = must(toy_data, f"--out={tmp_path / 'out'}", *argv)
    assert code == 2 and len(err) == 1 and said in err[0]


def test_a_folder_that_is_no_dataset_is_one_line(must, tmp_path):
    code, _, err = must(tmp_path, "--to=coco", f"--out={tmp_path / 'out'}")
    assert code == 2 and len(err) == 1 and "no manifest.json" in err[0]
