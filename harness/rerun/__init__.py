"""Work on a finished run: rescore, verify, import."""
