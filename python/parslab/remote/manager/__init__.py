"""The manager of one node: a process between the DataFlowKernel and the workers of the node (paper section 4.3.1)."""
