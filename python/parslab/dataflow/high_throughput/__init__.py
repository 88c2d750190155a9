"""The DataFlowKernel's side of the high-throughput executor: which manager gets which task."""
