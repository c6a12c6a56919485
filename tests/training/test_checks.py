import dataclasses

import toy

from must_tf.records import open_dataset
from must_tf.training.checks import surplus


def test_boxes_beyond_what_training_takes_are_counted_with_the_field_to_change(tmp_path):
    records = toy.toy_records(6, tasks=[toy.SCENE, toy.THINGS])
    limit = 1
    more = sum(len(record.labels["things"]["boxes"]) > limit for record in records if "things" in record.labels)
    assert 0 < more < 5
    manifest = toy.write_dataset(tmp_path, records, [toy.SCENE, dataclasses.replace(toy.THINGS, max_boxes=limit)])
    line = f"{more} image{'s' * (more > 1)}: things: more than 1 boxes, of which training and metrics take the first 1"
    assert [warning.partition(";")[0] for warning in manifest.warnings] == [line]
    dataset = open_dataset(tmp_path)
    told = f"{tmp_path}: of the first 6 images, {line}; raise max_boxes of the task in the config"
    assert surplus([toy.SCENE, dataclasses.replace(toy.THINGS, max_boxes=limit)], [dataset]) == [told]
    assert surplus(toy.TASKS, [dataset]) == []
