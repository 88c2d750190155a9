"""Descriptions of where blocks come from: this host, batch schedulers (paper section 4.2.1)."""
