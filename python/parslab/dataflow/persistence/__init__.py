"""What a run writes to disk so that it can go on: the event log and the checkpoints."""
