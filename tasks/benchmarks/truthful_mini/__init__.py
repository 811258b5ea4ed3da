"""The bundled truthfulness benchmark: its questions, documents and scores."""
