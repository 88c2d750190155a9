"""Apps: functions that, when called, become tasks of the loaded run and answer with a future at once.

Runs in the user's process and thread.  Knows of the run only what ``client`` offers: submit.
"""
