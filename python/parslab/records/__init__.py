"""Defines the types that the whole package shares: states, transitions of tasks, events, and messages of the panel.

All of them are pure: no module here imports sockets, clocks or threads.
"""
