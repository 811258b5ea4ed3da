"""The part that knows all rooms: command line, grid file, plan, engine, runs."""
