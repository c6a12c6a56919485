# Every target but `clean` makes the environment .venv and installs into it first. VENV and PYTHON can be given.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' 2>/dev/null && echo $$p && break; done)
SCALE ?= 1

.PHONY: install install-hf demo photos test test-slow lint bench clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "must_tf needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

# The extra `hf`, PyTorch and transformers, which some tests need. PyPI's torch for Linux comes with CUDA, some GB; pip
# prefers a CPU build of the same version where it is told of one, as by PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL.
install-hf: $(VENV)/.installed-hf

$(VENV)/.installed-hf: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hf]'
	touch $@

demo: install
	$(VENV)/bin/must demo --out=demo --scale=$(SCALE)

photos: install
	$(VENV)/bin/python -m must_tf.experiments.photos.run --out=photographs --scale=$(SCALE)

test: install
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

test-slow: install
	$(VENV)/bin/python -m pytest -m slow

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: install
	$(VENV)/bin/python -m must_tf.experiments.rooms.benchmark
	$(VENV)/bin/python -m must_tf.experiments.rooms.pipeline_benchmark
	$(VENV)/bin/python -m must_tf.experiments.rooms.augment_benchmark
	$(VENV)/bin/python -m must_tf.experiments.rooms.torch_benchmark
	$(VENV)/bin/python -m must_tf.experiments.labeling.benchmark

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
