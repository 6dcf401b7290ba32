"""From a query to ranked chunks: vectors, words, their fusion, and what is done to the ranking."""
