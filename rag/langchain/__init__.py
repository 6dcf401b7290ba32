"""LangChain in both directions: our retriever and embedder as its classes, its stores and embeddings as our parts."""
