"""The worker processes of one host and their queue; the DataFlowKernel or a manager owns a pool (D11)."""
