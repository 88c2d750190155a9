"""Providers for batch schedulers: one file for each scheduler."""
