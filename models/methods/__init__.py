"""The steering methods: one small file a method, and the registry that lists them."""
