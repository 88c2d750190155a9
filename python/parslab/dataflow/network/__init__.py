"""The sockets of the DataFlowKernel: the port for other hosts, and the managers of its own host."""
