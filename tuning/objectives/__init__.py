"""What a training learns from a row: how it becomes token ids, and the loss on them."""
