"""Experiments: configs, benchmarks and studies, grouped by dataset."""
