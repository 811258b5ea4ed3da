"""The bundled toxicity benchmark: prompts of RealToxicityPrompts and how responses are scored."""
