"""Calls of apps return the futures of this package."""
