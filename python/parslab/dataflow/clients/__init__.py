"""Serves the clients of a DataFlowKernel: their connections, sessions, leases and commands."""
