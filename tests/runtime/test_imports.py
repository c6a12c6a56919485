import gc
import os
import subprocess
import sys

import pytest

from must_tf.runtime import imports

PACKAGE = """
import gc, os
try:
    import left_out
except ImportError:
    left_out = None
collects, keras = gc.isenabled(), os.environ["TF_USE_LEGACY_KERAS"]
if os.environ.get("BROKEN"):
    raise ValueError("broken")
"""
COMMAND = """
import sys
import must_tf.cli.__main__
import must_tf.labeling, must_tf.training
import tensorflow as tf, tf_keras
spared = {"jax", "keras", "pandas", "sklearn", "tensorflow_text"}
assert not spared & set(sys.modules), spared & set(sys.modules)
assert tf_keras.__version__ < "3" <= tf.keras.__version__ and tf.optimizers.Adam is tf.keras.optimizers.Adam
import jax, pandas
"""


@pytest.fixture
def spared(tmp_path, monkeypatch):
    (tmp_path / "spared.py").write_text(PACKAGE)
    (tmp_path / "left_out.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [imports._Finder(), *sys.meta_path])
    monkeypatch.setattr(imports, "_SPARED", {"spared": imports._with_tf_keras})
    monkeypatch.setattr(imports, "_LEFT_OUT", ("left_out",))
    yield
    for name in ("spared", "left_out"):
        sys.modules.pop(name, None)


def test_a_spared_package_is_imported_without_what_is_left_out_which_is_found_afterwards(spared, monkeypatch):
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    import spared as package

    assert (package.left_out, package.collects, package.keras) == (None, False, "1")
    assert gc.isenabled() and "TF_USE_LEGACY_KERAS" not in os.environ
    import left_out

    assert left_out is sys.modules["left_out"]


def test_what_was_imported_or_set_before_stays(spared, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    import left_out
    import spared as package

    assert package.left_out is left_out and package.keras == os.environ["TF_USE_LEGACY_KERAS"] == "0"


def test_all_is_as_before_where_an_import_fails(spared, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(ValueError, match="broken"):
        import spared  # noqa: F401
    assert gc.isenabled() and "left_out" not in sys.modules and "spared" not in sys.modules


def test_commands_import_tensorflow_without_keras_3_jax_and_pandas_and_can_have_them_afterwards():
    subprocess.run([sys.executable, "-c", COMMAND], check=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"})
