"""Examples to adapters: rows, recipes, training, immutable artifacts. Knows nothing of retrieval."""
