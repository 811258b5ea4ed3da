"""A run: the driver, its workers, the manifest, item rows and progress."""
