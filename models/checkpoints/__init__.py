"""Model files: GGUF conversion and shapes of well-known models."""
