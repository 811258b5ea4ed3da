"""The bundled knowledge questions in MMLU's form."""
