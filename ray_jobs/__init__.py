"""Running opaque pieces of work on workers, here or on many machines.

This package knows nothing of models, tasks or rows: a piece of work is an id, a cost, a key of
affinity and a payload, and the caller passes the worker's class.
"""
