"""Descriptions of how a manager is started on each node of a block (paper section 4.2.2)."""
