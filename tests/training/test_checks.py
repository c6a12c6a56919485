import dataclasses
import json
from pathlib import Path

import tensorflow as tf
import toy

from must_tf.records import open_dataset
from must_tf.training.checks import surplus


def test_boxes_beyond_what_training_takes_are_counted_with_the_field_to_change(tmp_path):
    records = toy.toy_records(6, tasks=[toy.SCENE, toy.THINGS])
    limit = 1
    more = sum(len(record.labels["things"]["boxes"]) > limit for record in records if "things" in record.labels)
    assert 0 < more < 5
    toy.write_dataset(tmp_path, records, [toy.SCENE, dataclasses.replace(toy.THINGS, max_boxes=limit)])
    line = f"{more} image{'s' * (more > 1)}: things: more than 1 boxes, of which training and metrics take the first 1"
    dataset = open_dataset(tmp_path)
    told = f"{tmp_path}: of the first 6 images, {line}; raise max_boxes of the task in the config"
    assert surplus([toy.SCENE, dataclasses.replace(toy.THINGS, max_boxes=limit)], [dataset]) == [told]
    assert surplus(toy.TASKS, [dataset]) == []


def test_a_damaged_record_is_left_to_training_which_names_it(tmp_path):
    few = dataclasses.replace(toy.THINGS, max_boxes=1)
    toy.write_dataset(tmp_path, toy.toy_records(6, tasks=[toy.THINGS]), [toy.THINGS], num_shards=1)
    path = Path(open_dataset(tmp_path).paths[0])
    whole = surplus([few], [open_dataset(tmp_path)])
    frames = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for frame in (b"\xff no example", *frames):
            writer.write(frame)
    shards = json.loads((tmp_path / "manifest.json").read_text())["shards"]
    toy.change_manifest(tmp_path, shards=[shards[0] | {"bytes": path.stat().st_size}])
    assert whole and surplus([few], [open_dataset(tmp_path)]) == whole
