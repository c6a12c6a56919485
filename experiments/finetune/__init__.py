"""A backbone out of an export, fine-tuned in plain Keras: one file for each Keras."""
