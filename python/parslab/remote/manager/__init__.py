"""The manager of one node: a process between the DataFlowKernel and the node's workers [HPDC19 §4.3.1]."""
