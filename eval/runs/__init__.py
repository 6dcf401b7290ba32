"""Finished evaluations on disk: one run, the list of them, the difference of two."""
