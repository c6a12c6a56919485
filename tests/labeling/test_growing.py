"""A folder that grows: its new images are labeled alone, and slices keep their images."""

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import estimate, label, preview
from must_tf.records import open_dataset
from must_tf.report import inspect, summary
from must_tf.sources import open_source
from must_tf.sources.choosing import place


def ids(folder):
    return {record.id for record in open_dataset(folder).records(tasks=())}


def test_new_images_are_labeled_alone(folder, tmp_path):
    teachers = [toy.classifier()]
    label(folder, teachers, tmp_path / "first")
    for seed in (7, 8):
        Image.fromarray(toy.random_image(np.random.default_rng(seed), 30, 30)).save(folder / f"new {seed}.png")
    with pytest.raises(UserError, match=f"were 5 images, now there are 7; .* --except={tmp_path}/first "):
        label(folder, teachers, tmp_path / "first")
    manifest = label(folder, teachers, tmp_path / "second", without=[str(tmp_path / "first")])
    assert manifest.count == 2 and manifest.left_out == {f"held by {tmp_path}/first": 5}
    assert manifest.source["except"] == [str(tmp_path / "first")]
    assert not ids(tmp_path / "first") & ids(tmp_path / "second")
    source = open_source(folder, without=[str(tmp_path / "first")])
    assert len(preview(source, teachers, 7)) == 2 and estimate(source, teachers, manifest.tasks).images == 2
    with pytest.raises(UserError, match=r"no image is left; all of them are held by .*first or held by .*second"):
        label(folder, teachers, tmp_path / "third", without=[str(tmp_path / "first"), str(tmp_path / "second")])
    assert not list((tmp_path / "third").iterdir())  # for a better command
    toy.change_manifest(tmp_path / "second", teachers={})
    dataset, findings, grades = inspect(tmp_path / "second", pictures=0)
    assert f"left out: 5 held by {tmp_path}/first" in summary(dataset, findings, grades)
    assert f"held by {tmp_path}/first" in (tmp_path / "second" / "report.html").read_text()


def test_slices_are_labeled_apart(folder, tmp_path):
    places = sorted(place(entry.id) for shard in open_source(folder).shards for entry in shard())
    middle = f"{100 * (places[2] + places[3]) / 2 / 2**64:.6f}%"
    parts = [tmp_path / "train", tmp_path / "held"]
    for cut, out in zip((f"[:{middle}]", f"[{middle}:]"), parts, strict=True):
        label(f"{folder}{cut}", [toy.classifier()], out, allow_empty=True)
    found = [ids(part) for part in parts]
    assert [len(one) for one in found] == [3, 2] and len(found[0] | found[1]) == 5
