"""Writes and reads what a run keeps on disk: the event log and the checkpoints."""
