import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.labeling.ahead import ahead


@given(st.lists(st.integers()), st.integers(1, 5))
def test_items_come_in_order(items, count):
    assert list(ahead(items, count)) == items


def test_error_comes_where_the_item_would_have_come():
    def items():
        yield 1
        raise KeyError("second")

    found = ahead(items(), 3)
    assert next(found) == 1
    with pytest.raises(KeyError, match="second"):
        next(found)


def test_no_more_is_drawn_than_was_allowed():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i

    found = ahead(items(), 3)
    next(found)
    time.sleep(0.3)
    assert len(drawn) <= 1 + 3 + 1  # the one that was taken, those that wait, and one that finds no room


def test_consumer_that_stops_stops_the_thread():
    before = threading.active_count()
    found = ahead(iter(int, 1), 2)
    next(found)
    found.close()
    assert threading.active_count() == before
