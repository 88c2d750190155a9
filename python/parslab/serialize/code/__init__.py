"""Examine code: bytecode, modules that users edit, and everything that a function captures."""
