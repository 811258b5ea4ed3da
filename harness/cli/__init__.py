"""The command line: one module a command; `main.py` runs them, `index.py` groups them."""
