import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.labeling.prefetch import prefetch


@given(st.lists(st.integers()), st.integers(1, 5))
def test_items_keep_their_order(items, count):
    assert list(prefetch(items, count)) == items


def test_error_is_raised_in_the_place_of_its_item():
    def items():
        yield 1
        raise KeyError("second")

    found = prefetch(items(), 3)
    assert next(found) == 1
    with pytest.raises(KeyError, match="second"):
        next(found)


def test_at_most_count_items_are_fetched_in_advance():
    fetched = []

    def items():
        for i in range(100):
            fetched.append(i)
            yield i

    found = prefetch(items(), 3)
    next(found)
    time.sleep(0.3)
    assert len(fetched) <= 1 + 3 + 1  # one consumed, three in the queue, and one that waits for room in the queue


def test_thread_ends_when_the_consumer_stops_early():
    before = threading.active_count()
    found = prefetch(iter(int, 1), 2)
    next(found)
    found.close()
    assert threading.active_count() == before
