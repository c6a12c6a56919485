"""How fast labelling is, and how much memory it takes."""
