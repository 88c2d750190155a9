"""The client connects a notebook or script to its run: futures, the link to the DataFlowKernel, local tasks."""
