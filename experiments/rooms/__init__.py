"""Experiments on the rendered rooms."""
