"""Removes dead runs: their jobs, processes, sockets and files."""
