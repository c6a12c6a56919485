import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

# A library that is loaded for all, as TensorFlow's is, and one that defines the same function for itself, as Triton's.
_GLOBAL = "int llvm(void) { return 1; }"
_TRITON = "int llvm(void) { return 2; } int used(void) { return llvm(); }"
_TORCH = "import os, sys\nown_first = bool(sys.getdlopenflags() & os.RTLD_DEEPBIND)\n"
_LOAD = """
import ctypes, os, sys
from must_tf.runtime import pytorch
sys.path.insert(0, sys.argv[1])
ctypes.CDLL(sys.argv[1] + "/libglobal.so", mode=os.RTLD_NOW | os.RTLD_GLOBAL)
flags = sys.getdlopenflags()
if sys.argv[2] == "beside":
    pytorch.load_beside_tensorflow()
import torch
print(torch.own_first, ctypes.CDLL(sys.argv[1] + "/triton/_C/libtriton.so").used(), sys.getdlopenflags() == flags)
"""
_REAL = """
import tensorflow
from must_tf.teachers.model import optional
optional("transformers", "hf")
import torch
try:
    torch.zeros(1).cuda()
except (AssertionError, RuntimeError) as error:
    assert any(words in str(error) for words in ("no NVIDIA driver", "not compiled with CUDA")), error
import torch._dynamo
"""


def ran(*words):
    without_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, env=without_gpu)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize(("order", "said"), [("beside", "True 2 True"), ("after", "False 1 True")])
def test_pytorch_and_its_triton_use_what_they_define_themselves(order, said, tmp_path):
    (tmp_path / "triton" / "_C").mkdir(parents=True)
    (tmp_path / "triton" / "__init__.py").touch()
    (tmp_path / "torch.py").write_text(_TORCH)
    for name, source in (("libglobal.so", _GLOBAL), ("triton/_C/libtriton.so", _TRITON)):
        gcc = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / name]
        subprocess.run(gcc, input=source, text=True, check=True)
    ended = ran(_LOAD, tmp_path, order)
    assert ended.stdout == f"{said}\n", ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs the extra hf")
def test_the_real_one_asks_its_own_cuda_and_can_compile(tmp_path):
    ended = ran(_REAL)
    assert ended.returncode == 0, ended.stderr[-2000:]
