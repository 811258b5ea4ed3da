"""The command `steereval diagnose`: measurements on activations."""
