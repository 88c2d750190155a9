"""Apps: functions whose calls become tasks of the loaded run and return a future at once.

All code here runs in the user's process, in the thread that calls the app.
"""
