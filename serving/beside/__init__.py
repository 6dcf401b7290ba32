"""The engine of an adapter that vLLM cannot compute: transformers behind the same protocol, a process for each."""
