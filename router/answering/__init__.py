"""Arms and the one answering path: retrieve, render, ask the engine, cite."""
