import subprocess
import sys

import pytest

import must_tf
from must_tf.errors import UserError


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_loads_no_tensorflow_and_is_quick():
    code = (
        "import sys, time; start = time.perf_counter(); import must_tf; took = time.perf_counter() - start; "
        "print(took, [name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tf_keras', 'numpy')])"
    )
    took, loaded = min(python(code).split(" ", 1) for _ in range(3))
    assert loaded == "[]"
    assert float(took) < 0.3


@pytest.mark.parametrize("name", must_tf.__all__)
def test_public_name_is_there(name):
    assert getattr(must_tf, name) is not None and name in dir(must_tf)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        must_tf.nothing  # noqa: B018


def test_public_error_is_the_one_that_is_raised():
    assert must_tf.UserError is UserError
