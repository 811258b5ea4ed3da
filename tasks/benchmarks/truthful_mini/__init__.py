"""The embedded truthfulness benchmark: its questions, documents and scores."""
