"""The DataFlowKernel process as its owner sees it: how it starts, and how it starts again."""
