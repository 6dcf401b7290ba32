"""What moves in a training. A method is a value; tuning/methods/registry.py lists them."""
