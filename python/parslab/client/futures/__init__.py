"""The futures that calls return."""
