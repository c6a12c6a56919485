"""How fast labeling is, and how much memory it takes."""
