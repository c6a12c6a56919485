"""Lets PyTorch's Triton and TensorFlow run in one process; both hold LLVM, and the second to be loaded crashed."""

import ctypes
import functools
import importlib.util
import os
from pathlib import Path


@functools.cache
def load_beside_tensorflow() -> None:
    """Loads Triton's library so that it uses its own LLVM; call it before PyTorch or transformers is imported.

    PyTorch with CUDA brings Triton. TensorFlow 2.20 offers its LLVM to all libraries that are loaded later, and Triton
    3.7 and later crash with it (https://github.com/tensorflow/tensorflow/issues/124205). Without Triton, as beside a
    CPU build of PyTorch, nothing happens.
    """
    triton = importlib.util.find_spec("triton")
    for folder in (triton.submodule_search_locations or ()) if triton else ():
        library = Path(folder, "_C", "libtriton.so")
        if library.is_file():
            try:
                ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
            except OSError:
                return  # it cannot be loaded at all: PyTorch finds that out, too, and goes on without it
