"""What moves the trained weights. An optimizer is a value; tuning/optimizers/registry.py lists them."""
