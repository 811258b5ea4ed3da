"""The embedded knowledge questions in MMLU's form."""
