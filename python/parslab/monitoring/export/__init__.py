"""Writes a run in formats of other programs: tables, drawings of the graph, traces."""
