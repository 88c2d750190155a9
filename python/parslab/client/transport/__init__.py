"""The socket to the DataFlowKernel: batches out, answers in."""
