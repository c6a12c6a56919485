import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

# A library that is loaded for all, as TensorFlow's is, and one that defines the same function for itself, as Triton's.
_GLOBAL = "int llvm(void) { return 1; }"
_TRITON = "int llvm(void) { return 2; } int used(void) { return llvm(); }"
_LOAD = """
import ctypes, os, sys
from must_tf.runtime import triton
sys.path.insert(0, sys.argv[1])
ctypes.CDLL(sys.argv[1] + "/libglobal.so", mode=os.RTLD_NOW | os.RTLD_GLOBAL)
if sys.argv[2] == "beside":
    triton.load_beside_tensorflow()
print(ctypes.CDLL(sys.argv[1] + "/triton/_C/libtriton.so").used())
"""
_REAL = """
import tensorflow
from must_tf.teachers.model import optional
optional("transformers", "hf")
import torch._dynamo, triton
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize(("order", "used"), [("beside", 2), ("after", 1)])
def test_a_triton_that_is_loaded_after_tensorflow_uses_what_it_defines_itself(order, used, tmp_path):
    (tmp_path / "triton" / "_C").mkdir(parents=True)
    (tmp_path / "triton" / "__init__.py").touch()
    for name, source in (("libglobal.so", _GLOBAL), ("triton/_C/libtriton.so", _TRITON)):
        gcc = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / name]
        subprocess.run(gcc, input=source, text=True, check=True)
    ended = subprocess.run([sys.executable, "-c", _LOAD, tmp_path, order], capture_output=True, text=True)
    assert ended.stdout == f"{used}\n", ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="needs Triton, which PyTorch with CUDA brings")
def test_the_real_one_can_be_imported_after_tensorflow():
    without_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([sys.executable, "-c", _REAL], capture_output=True, text=True, env=without_gpu)
    assert ended.returncode == 0, ended.stderr[-2000:]
