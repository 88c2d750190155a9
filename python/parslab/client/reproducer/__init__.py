"""Writes notebook cells that repeat the call of a task, so that the user can look for the fault of its function."""
