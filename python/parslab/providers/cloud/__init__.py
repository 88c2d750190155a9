"""Blocks that are instances of a cloud: one core, and a thin client for each cloud."""
