"""Driving: one student of vehicles, drivable area and lane lines, as YOLOP (Wu et al., arXiv 2108.11250)."""
