"""Experiments on photographs: a complete run with teachers and images from package registries."""
