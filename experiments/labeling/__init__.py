"""Benchmark of labeling: speed and memory."""
