"""The worker process: runs tasks one after the other in its main thread, answers questions in a second one."""
