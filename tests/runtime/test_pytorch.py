import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

# A library that is loaded for all, as TensorFlow's is, and one that defines the same function for itself, as Triton's.
_GLOBAL = "int llvm(void) { return 1; }"
_TRITON = "int llvm(void) { return 2; } int used(void) { return llvm(); }"
_MALLOC = "void *__libc_malloc(unsigned long); void *malloc(unsigned long n) { return __libc_malloc(n); }"
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


def ran(*words, **environment):
    changed = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, env=changed)


def built(path, source):
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=source, text=True, check=True)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize(
    ("order", "malloc", "said"),
    [("beside", "", "True 2 True"), ("after", "", "False 1 True"), ("beside", "malloc.so", "False 1 True")],
)
def test_pytorch_and_its_triton_use_what_they_define_themselves(order, malloc, said, tmp_path):
    """Unless a library was loaded before all that has another `malloc`: memory would be freed by the wrong one."""
    (tmp_path / "triton" / "_C").mkdir(parents=True)
    (tmp_path / "triton" / "__init__.py").touch()
    (tmp_path / "torch.py").write_text(_TORCH)
    for name, source in (("libglobal.so", _GLOBAL), ("triton/_C/libtriton.so", _TRITON), ("malloc.so", _MALLOC)):
        built(tmp_path / name, source)
    ended = ran(_LOAD, tmp_path, order, LD_PRELOAD=malloc and f"{tmp_path / malloc}")
    assert ended.stdout == f"{said}\n", ended.stderr


def test_where_libraries_cannot_look_in_themselves_first_pytorch_is_left_alone():
    """As on macOS, whose libraries do so anyway."""
    told = "import os, sys\ndel os.RTLD_DEEPBIND\nfrom must_tf.runtime import pytorch\n"
    ended = ran(told + "pytorch.load_beside_tensorflow()\nprint('torch' in sys.modules)")
    assert ended.stdout == "False\n", ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs the extra hf")
def test_the_real_one_asks_its_own_cuda_and_can_compile(tmp_path):
    ended = ran(_REAL)
    assert ended.returncode == 0, ended.stderr[-2000:]
