"""Users hold a ``DataFlowKernel`` object; this package has its class and components."""
