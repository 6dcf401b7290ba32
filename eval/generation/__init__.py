"""Questions with gold answers and gold passages, written by a model from documents and checked by asking it back."""
