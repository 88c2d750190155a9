"""Opens the DataFlowKernel's port for other hosts, and its socket for managers of its own host."""
