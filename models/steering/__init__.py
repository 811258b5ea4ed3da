"""Hook points, forward hooks, steerers and steered positions."""
