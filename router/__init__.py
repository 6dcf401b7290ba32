"""Arms, the one answering path, and the choice among arms."""
