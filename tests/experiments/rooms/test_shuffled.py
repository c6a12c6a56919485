import dataclasses

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.experiments.rooms.shuffled import shuffle
from must_tf.records import HUMAN, open_dataset


@pytest.fixture
def alike(tmp_path):
    """Images of one size in two shards: human classes, and depth that a teacher gave all but the first one."""
    records = [dataclasses.replace(record, labels={}, origins={}) for record in toy.toy_records(1) * 6]
    tasks = (toy.SCENE, toy.DEPTH)
    for i, record in enumerate(records):
        record.id = f"{i:016x}"
        record.labels, record.origins = {"scene": i % 2}, {"scene": HUMAN}
        if i:
            record.labels["depth"] = np.full([record.height, record.width], 1.0 + i, np.float32)
            record.origins["depth"] = "depth:1"
    toy.write_dataset(tmp_path / "data", records, tasks)
    toy.change_manifest(tmp_path / "data", teachers={"depth:1": {"path": "student:depth"}})
    return tmp_path / "data"


def test_labels_of_teachers_go_to_other_images_and_none_is_lost(alike, tmp_path):
    shuffle(alike, tmp_path / "out", seed=3)
    before, after = (list(open_dataset(folder).records()) for folder in (alike, tmp_path / "out"))
    assert [r.id for r in before] == [r.id for r in after] and [r.encoded for r in before] == [r.encoded for r in after]
    assert [r.labels["scene"] for r in before] == [r.labels["scene"] for r in after]
    had, have = ([r.labels["depth"].max() if "depth" in r.labels else 0.0 for r in side] for side in (before, after))
    assert sorted(had) == sorted(have) and all(a != b for a, b in zip(had, have, strict=True))
    assert {r.origins.get("depth") for r in after} == {None, "depth:1"}


def test_the_same_seed_gives_the_same_bytes_also_after_a_kill(alike, tmp_path):
    made = [shuffle(alike, tmp_path / name, seed=1).shards.digests() for name in ("a", "b")]
    shards = sorted((tmp_path / "b").glob("*tfrecord*"))
    shards[-1].unlink()
    assert [*made[0]] == [*made[1]] == [*shuffle(alike, tmp_path / "b", seed=1).shards.digests()]


def test_images_of_several_sizes_are_refused(toy_data, tmp_path):
    with pytest.raises(UserError, match="one size"):
        shuffle(toy_data, tmp_path / "out")
