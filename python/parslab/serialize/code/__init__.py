"""What code is made of: bytecode, modules that users edit, and everything that a function captures."""
