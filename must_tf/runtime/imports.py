"""Imports TensorFlow and Model Garden for a command sooner: without what no command needs of them.

They import some packages only because these are installed: a LiteRT converter for functions of JAX, an adapter of
`fit` for data frames of pandas, text layers. TensorFlow also imports Keras 3, which `tf.keras` does anyway when it is
first used. Garbage collections in between free nothing.

What is left out is not found during these imports alone; a later `import pandas` finds it. A program that imports
must_tf as a library is not touched.
"""

import contextlib
import gc
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

_LEFT_OUT = ("jax", "pandas", "tensorflow_text")
_KERAS_2 = "TF_USE_LEGACY_KERAS"  # what TensorFlow imports; `tf.keras` looks at it again when it is first used


def spare(on: bool = True) -> None:
    """Makes later imports of TensorFlow and Model Garden leave that out, or no longer do so."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    if on:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the spared packages where Python does, with a loader that spares."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns how to import a package; None leaves it to the other finders."""
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if fullname in _SPARED else None
        if spec is not None and spec.origin:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Runs the code of the package."""
        with _without_collections(), _SPARED[self.name](), _left_out():
            super().exec_module(module)


@contextlib.contextmanager
def _left_out() -> Iterator[None]:
    absent: dict[str, Any] = dict.fromkeys(name for name in _LEFT_OUT if name not in sys.modules)
    sys.modules |= absent  # None: an import does not find it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def _with_tf_keras() -> Iterator[None]:
    given = os.environ.get(_KERAS_2)
    os.environ.setdefault(_KERAS_2, "1")
    try:
        yield
    finally:
        if given is None:
            del os.environ[_KERAS_2]


@contextlib.contextmanager
def _with_optimizers_of_tf_keras() -> Iterator[None]:
    """Model Garden's trainer names `tf.optimizers` in an annotation, which would import Keras 3."""
    import tensorflow as tf
    import tf_keras

    names = vars(tf)
    meant, names["optimizers"] = names["optimizers"], tf_keras.optimizers
    try:
        yield
    finally:
        names["optimizers"] = meant


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules stay
        if collects:
            gc.enable()


_SPARED = {"tensorflow": _with_tf_keras, "must_tf.garden": _with_optimizers_of_tf_keras}
