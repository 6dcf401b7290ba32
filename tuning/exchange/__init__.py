"""Adapters for other programs: plain PEFT, whole models in safetensors and GGUF, Ollama."""
