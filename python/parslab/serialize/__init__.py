"""Pickle functions, arguments, values and failures; only the caller and the worker unpickle them."""
