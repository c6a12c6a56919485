"""Experiments: configs, grouped by world."""
