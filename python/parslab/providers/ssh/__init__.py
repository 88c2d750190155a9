"""Blocks on hosts that are reached by ssh, through the user's own ``ssh`` command and its configuration."""
