"""Continues a run after its notebook kernel or its DataFlowKernel was lost."""
