"""Holds the task graph of a run; its modules use no sockets, files, threads or clock."""
