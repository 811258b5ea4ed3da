"""Command line, grid file, plan, engine and runs; the only package that imports the others."""
