"""The SQLite store of a run: written by one thread, read by the panel."""
