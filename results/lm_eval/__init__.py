"""Sample files of lm-eval, read and imported without lm-eval."""
