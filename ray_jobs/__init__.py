"""Running opaque pieces of work on workers, here or on many machines.

This package is independent of models, tasks and rows: a piece of work is an id, a cost, a key of
affinity and a payload, and the caller passes the worker's class.
"""
