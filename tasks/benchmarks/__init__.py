"""One folder per benchmark: lm-eval task files, documents and scores."""
