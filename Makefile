# Every target but `clean` makes the environment .venv and installs into it first. VENV and PYTHON can be given.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' 2>/dev/null && echo $$p && break; done)
SCALE ?= 1

.PHONY: install install-hf demo photos test test-slow lint docs dist image bench clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "must_tf needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs]'
	touch $@

# The extra `hf`, PyTorch and transformers, which some tests need. PyPI's torch for Linux comes with CUDA, some GB; pip
# prefers a CPU build of the same version where it is told of one, as by PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL.
install-hf: $(VENV)/.installed-hf

$(VENV)/.installed-hf: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hf]'
	touch $@

demo: install
	$(VENV)/bin/must demo --out=demo --scale=$(SCALE)

# DATA: a folder of public photographs and models; without it, those of packages. See docs/how-to/photographs.md.
photos: install
	$(VENV)/bin/python -m must_tf.experiments.photos.run --out=photographs --scale=$(SCALE) $(if $(DATA),--data=$(DATA))

test: install
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

test-slow: install
	$(VENV)/bin/python -m pytest -m slow

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Static pages in site/, which open from the disk. A warning or a link that leads nowhere is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	$(VENV)/bin/python docs/links.py site

# Source distribution and wheel in dist/, checked as an index would.
dist: install
	$(VENV)/bin/python -m build --no-isolation
	$(VENV)/bin/twine check --strict dist/*

# The Docker image `must_tf`; CUDA=1 brings CUDA libraries for NVIDIA GPUs.
image:
	docker build $(if $(CUDA),--build-arg 'TENSORFLOW=tensorflow[and-cuda]') -t must_tf .

bench: install
	$(VENV)/bin/python -m must_tf.experiments.rooms.benchmark
	$(VENV)/bin/python -m must_tf.experiments.rooms.pipeline_benchmark
	$(VENV)/bin/python -m must_tf.experiments.rooms.augment_benchmark
	$(VENV)/bin/python -m must_tf.experiments.rooms.torch_benchmark
	$(VENV)/bin/python -m must_tf.experiments.labeling.benchmark

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
