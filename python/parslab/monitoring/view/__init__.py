"""What the panel shows of a run: pure, made from events."""
