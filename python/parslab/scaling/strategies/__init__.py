"""Strategies: pure decisions how many blocks there should be."""
