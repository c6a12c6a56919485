"""Static HTML pages from JSON and drawn labels."""
