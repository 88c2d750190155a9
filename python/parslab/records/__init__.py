"""The vocabulary of the whole package: states, the transitions of tasks, events, and the messages of the panel.

These are pure records: no module here imports sockets, clocks or threads.
"""
