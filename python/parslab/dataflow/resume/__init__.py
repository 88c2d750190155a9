"""How a run goes on after its notebook kernel or its DataFlowKernel was lost."""
