"""The training run: recipe, precision, batches, trainer, and the adapter that comes out."""
