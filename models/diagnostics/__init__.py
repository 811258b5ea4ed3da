"""Measurements of the effect of steering on activations: pure functions of tensors.

They answer what reviewers ask of a method: whether its barrier rises along the path, whether the
path stays near the data, how nonlinear the field is, what the integrator adds, what it costs.
"""
