"""What is asked of the task graph: cancel, retry, explain, check [core]. These modules read and change the table."""
