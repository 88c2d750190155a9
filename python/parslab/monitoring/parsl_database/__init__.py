"""Reads Parsl's monitoring database into the store: ``parslab import-monitoring monitoring.db``."""
