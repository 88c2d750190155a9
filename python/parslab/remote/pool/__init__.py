"""Worker processes of one host and the work that is sent to them; owned by the DataFlowKernel or by a manager (D11)."""
