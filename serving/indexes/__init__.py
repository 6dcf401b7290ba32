"""Indexes by name: where they are kept, what `arbiter index` does with them, how well they find."""
