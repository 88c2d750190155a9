"""Make identities: bytes that are equal, in every process, for equal values, functions and calls."""
