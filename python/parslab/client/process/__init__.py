"""This package starts the DataFlowKernel process, finds running ones, and starts a lost one again."""
