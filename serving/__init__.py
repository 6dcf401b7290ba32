"""vLLM's process, the HTTP API, the pipeline and the command line."""
