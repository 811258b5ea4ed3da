"""Running opaque pieces of work on workers, here or on many machines.

This package depends on no model, task or row: a piece of work is an id, a cost, a key of
affinity and a payload, and a worker is a class that the caller provides.
"""
