"""The DataFlowKernel's side of its clients: their connections, sessions, leases and commands."""
