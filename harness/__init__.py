"""steereval: a distributed evaluation harness for activation steering of language models."""
