"""Public helpers for tests: of parslab itself, and of executors and tools that others build on it.

`fakes` stands in for sockets, `network` joins the cores of a run in virtual time with seeded faults, and `conformance`
holds the suite that every executor must pass.
"""
