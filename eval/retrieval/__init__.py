"""Quality of retrieval: which documents a search finds, how high, and whether one way to search is shown better."""
