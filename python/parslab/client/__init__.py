"""The notebook's side of a run: futures, the link to the DataFlowKernel, and the bodies that must run here."""
