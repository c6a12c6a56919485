import dataclasses

import pytest
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import estimate, label, preview
from must_tf.labeling.probe import Estimate
from must_tf.records import HUMAN
from must_tf.sources import open_source


@pytest.fixture
def source(folder):
    return open_source(str(folder), images_per_shard=2)


def test_estimated_bytes_equal_those_that_labeling_writes(folder, source, tmp_path):
    found = estimate(source, [toy.segmenter()], [toy.STUFF], batch_size=1)
    manifest = label(folder, [toy.segmenter()], tmp_path / "out", 1, 2)
    assert found.images == found.measured == manifest.count
    assert found.bytes_per_image * found.images == sum(shard.bytes for shard in manifest.shards)
    assert found.images_per_second > 0 and found.quarantined == 0
    assert "5 images at" in str(found)


def test_estimate_is_printed_in_the_largest_units_that_fit():
    small, large = Estimate(10, 10, 5.0, 300, 0.0, 0.5), Estimate(10**6, 128, 50.0, 20_000, 0.01, 0.9)
    assert "2.0 seconds after the program has started, 3.0 kB on disk, 0.5 GB of peak memory" in str(small)
    assert "5.6 hours after the program has started, 19.8 GB on disk, 0.9 GB of peak memory" in str(large)


def test_estimate_counts_images_that_cannot_be_read(folder, tmp_path):
    (folder / "text.jpg").write_text("no image")
    found = estimate(open_source(str(folder)), [toy.segmenter()], [toy.STUFF], batch_size=2)
    assert (found.images, found.measured, found.quarantined) == (6, 6, 1 / 6)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_preview_labels_as_many_images_as_requested(source, count):
    records = preview(source, [toy.segmenter(), toy.classifier(name="other-2")], count)
    assert len(records) == min(count, source.count)
    for record in records:
        assert HUMAN not in record.origins.values() and set(record.labels) == {"stuff", "scene"}


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_estimate_of_one_image_has_a_rate(tmp_path, batch_size):
    Image.new("RGB", (20, 30)).save(tmp_path / "a.png")
    found = estimate(open_source(str(tmp_path)), [toy.segmenter()], [toy.STUFF], batch_size)
    assert found.measured == 1 and found.images_per_second > 0 and "1 images at" in str(found)


def test_estimate_of_a_source_with_fewer_images_than_its_count_has_a_rate(source):
    few = dataclasses.replace(source, count=1000, shards=source.shards[:1])
    found = estimate(few, [toy.segmenter()], [toy.STUFF], 32)
    assert found.measured in (1, 2)
    assert found.images_per_second > 0


def test_estimate_of_a_source_without_images_is_refused(source):
    with pytest.raises(UserError, match="nothing to measure"):
        estimate(dataclasses.replace(source, shards=(lambda look: iter(()),)), [toy.segmenter()], [toy.STUFF])
