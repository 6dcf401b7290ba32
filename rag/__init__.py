"""Documents to passages: load, chunk, embed, index, search. Knows nothing of language models."""
