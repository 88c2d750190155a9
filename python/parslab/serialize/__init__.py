"""What may unpickle: the caller and the worker.  Functions, arguments with futures inside, values, failures."""
