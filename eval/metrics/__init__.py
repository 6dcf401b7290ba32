"""Scores of answers: every metric, which of them decide, and the floors that arms must beat."""
