import os

import pytest

from must_tf.quiet import quiet


def test_talk_is_held_back_and_all_else_comes_through_even_after_an_error(capfd):
    with pytest.raises(ValueError, match="oops"), quiet():
        os.write(2, b"I0000 00:00:1 devices.cc:67] Number of eligible GPUs: 0\nreal trouble\nW0000 00:00:1 x.cc] y\n")
        raise ValueError("oops")
    assert capfd.readouterr().err == "real trouble\n"
