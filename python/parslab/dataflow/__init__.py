"""The DataFlowKernel process: the task graph, the queues of its executors, and the one loop that owns every socket."""
