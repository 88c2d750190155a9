"""The command ``parslab``: live runs and their logs, ready configurations, and a doctor for configurations."""
