"""What generates text: vLLM as a supervised child, or an endpoint that somebody else runs."""
