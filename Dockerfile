# An image with must_tf and its pinned packages: `make image`, or with CUDA libraries `make image CUDA=1`.
#   docker build --build-arg EXTRAS=all --build-arg TENSORFLOW=tensorflow[and-cuda] -t must_tf .
FROM python:3.11-slim-bookworm

ARG EXTRAS=all
ARG TENSORFLOW=tensorflow

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The packages first, so that a change of the code does not install them again.
WORKDIR /opt/must_tf
COPY constraints.txt ./
RUN pip install -c constraints.txt "${TENSORFLOW}"

COPY setup.py pyproject.toml README.md LICENSE ./
COPY must_tf must_tf
COPY export export
COPY experiments experiments
RUN pip install -c constraints.txt ".[${EXTRAS}]" && useradd --create-home --uid 1000 must

USER 1000
WORKDIR /work
CMD ["must", "--help"]
