"""Shards that are held compactly are those that were given, and few bytes each."""

import collections
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.records import Shard, Shards

counts = st.integers(0, 5)
some = st.dictionaries(st.sampled_from(["a", "b"]), counts, max_size=2)
shard = st.builds(
    Shard,
    st.text("xyz", min_size=1, max_size=2),
    counts,
    counts,
    st.sampled_from(["", "0" * 64, "ä\n"]),
    st.dictionaries(st.sampled_from(["scene", "things"]), some, max_size=2),
    counts,
    st.lists(st.just({"name": "a.jpg", "reason": "broken"}), max_size=2),
    st.dictionaries(st.just("things"), some),
    some,
    some,
)


def naive(shards, field):
    total = {}
    for one in shards:
        for task, origins in getattr(one, field).items():
            of = total.setdefault(task, collections.Counter())
            of.update(origins)
    return total


@given(st.lists(shard, max_size=6))
def test_what_is_held_is_what_was_given(given_shards):
    held = Shards(given_shards)
    assert list(held) == given_shards == held[:] and len(held) == len(given_shards)
    assert list(held.names()) == [one.name for one in given_shards]
    assert list(held.digests()) == [one.sha256 for one in given_shards]
    assert held.counts.tolist() == [one.count for one in given_shards]
    assert list(held.column("notes")) == [one.notes for one in given_shards]
    for field in ("labels", "empty"):
        assert held.label_sums(field) == naive(given_shards, field)
    assert held.sums("notes") == dict(sum((collections.Counter(one.notes) for one in given_shards), start=Sum()))
    again = Shards.read(map(json.loads, held.lines()), "here")
    assert again == held and list(again) == given_shards


class Sum(collections.Counter):
    """A sum of counts that keeps those of 0."""

    def __add__(self, other):
        total = Sum(self)
        total.update(other)
        return total


def test_a_shard_is_checked_also_where_another_was_like_it():
    good = {"name": "a", "count": 1, "bytes": 1, "sha256": "", "labels": {}}
    for wrong, said in (({"name": "../a"}, "name of a shard"), ({"count": -1}, "-1 received"), ({"bytes": "1"}, "'1'")):
        with pytest.raises(UserError, match=rf"here: .*{said}"):
            Shards.read([good, good | wrong], "here")
    with pytest.raises(UserError, match=r"here: field 'shards\[1\].sha256' is missing"):
        Shards.read([good, {name: part for name, part in good.items() if name != "sha256"}], "here")


def test_a_shard_takes_few_bytes_of_memory():
    number = 3000

    def many():
        for i in range(number):
            name = f"labeled-train.tfrecord-{i:06d}-of-{number:06d}"
            yield Shard(
                name, 1000, 10**8, f"{i:064x}", {"boxes": {"teacher": 1000}}, empty={"boxes": {"teacher": i % 50}}
            )

    tracemalloc.start()
    shards = Shards(many())
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(shards) == number and used / number < 250
