"""The transport sends batches of messages to the DataFlowKernel and receives its replies."""
