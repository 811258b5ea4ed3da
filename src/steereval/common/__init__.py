"""What every room may import: errors, paths, whole files, text."""
