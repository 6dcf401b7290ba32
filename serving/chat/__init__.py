"""`POST /v1/chat/completions`: what is asked for, and the answer whole or streamed."""
