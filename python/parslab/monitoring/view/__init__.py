"""Builds the present state of a run from its events, for panels and store; every module here is pure."""
