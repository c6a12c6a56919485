"""Imports PyTorch beside TensorFlow: libraries of both define the same names, and each has to use its own."""

import ctypes
import functools
import importlib.util
import os
import sys
from pathlib import Path

_DEEPBIND = getattr(os, "RTLD_DEEPBIND", 0)  # glibc alone has it: a library looks for a name in itself first
_OWN_FIRST = os.RTLD_NOW | _DEEPBIND


@functools.cache
def load_beside_tensorflow() -> None:
    """Imports PyTorch, if it is installed; call it before anything else does.

    TensorFlow 2.20 offers its names to all libraries that are loaded later
    (https://github.com/tensorflow/tensorflow/issues/124205). PyTorch with CUDA then calls TensorFlow's stub of the CUDA
    runtime, which finds no GPU. And Triton 3.7 and later, which it brings, crash with TensorFlow's LLVM.

    Does nothing where `malloc` is not that of the C library, as with LD_PRELOAD=libjemalloc.so: PyTorch would use the
    C library's, and give it memory back that the other one had given.
    """
    if not (_DEEPBIND and importlib.util.find_spec("torch") and _malloc_is_of_libc()):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(_OWN_FIRST)
    try:
        importlib.import_module("torch")
    finally:
        sys.setdlopenflags(flags)
    triton = importlib.util.find_spec("triton")  # PyTorch imports it later
    for folder in (triton.submodule_search_locations or ()) if triton else ():
        library = Path(folder, "_C", "libtriton.so")
        if library.is_file():
            try:
                ctypes.CDLL(str(library), mode=_OWN_FIRST)
            except OSError:
                return  # it cannot be loaded at all: PyTorch finds that out, too, and goes on without it


def device() -> str:
    """Returns the device on which models of PyTorch run: `cuda`, the first GPU, if PyTorch has one, otherwise `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _malloc_is_of_libc() -> bool:
    used, own = (ctypes.cast(ctypes.CDLL(name).malloc, ctypes.c_void_p) for name in (None, "libc.so.6"))
    return used.value == own.value
