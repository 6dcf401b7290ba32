"""Evals in OpenAI's shapes: requests, rows, runs in the background, routes."""
