"""The command ``parslab``: live runs, logs and reports, ready configurations, and a doctor for configurations."""
