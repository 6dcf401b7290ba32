"""What moves in a training: LoRA. A method is a value in a file of its own; tuning/methods/registry.py lists them."""
