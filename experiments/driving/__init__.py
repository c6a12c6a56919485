"""YOLOP (Wu et al., arXiv 2108.11250): one encoder with three heads for vehicles, drivable area and lane lines."""
