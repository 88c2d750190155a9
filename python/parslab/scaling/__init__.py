"""Blocks that grow and shrink with the work (paper section 4.4)."""
