"""The vocabulary that every room shares: states, the task machine, events, and what the panel is told.

Pure records: nothing here imports a socket, a clock or a thread.
"""
