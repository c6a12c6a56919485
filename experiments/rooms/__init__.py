"""Experiments on the rendered rooms: configs, the replication of the paper's tables, and benchmarks."""
