"""Experiments on folders of photographs."""
