"""Scorecard and policy to a decision, with the statistics behind it."""
