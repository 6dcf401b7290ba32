"""What generates text: supervised children, vLLM first, or an endpoint that somebody else runs."""
