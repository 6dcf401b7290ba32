"""Texts to unit vectors, and the vectors that were made already."""
