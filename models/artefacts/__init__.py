"""Fitted steerers on disk, and exports to formats of other programs."""
