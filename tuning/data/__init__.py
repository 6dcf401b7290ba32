"""Training rows: examples, and the words a model is trained on."""
