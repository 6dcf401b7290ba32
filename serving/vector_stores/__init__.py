"""Uploaded files and vector stores: their rows, their indexing in the background, their routes in OpenAI's shapes."""
