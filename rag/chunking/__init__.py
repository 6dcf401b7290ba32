"""Documents to chunks: pieces that fit an embedder, with their place in the document kept."""
