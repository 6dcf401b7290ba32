"""The engine, and an HTTP API a folder a surface: chat, vector stores, evals, decisions."""
