"""The bundled preference set in UltraFeedback's form: its prompts, answers and scores."""
