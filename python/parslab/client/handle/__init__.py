"""The DataFlowKernel object that users hold, and what it is composed of."""
