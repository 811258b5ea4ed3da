"""UltraFeedback: prompts to be answered, and pairs of answers of which one was preferred."""
