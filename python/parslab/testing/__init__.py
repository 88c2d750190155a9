"""Public helpers for tests of parslab, and of executors, providers and tools that others build on it.

- :mod:`~parslab.testing.conformance`: the suites that every member of a family passes.
- :mod:`~parslab.testing.fakes`: messages without a client, a link without a socket.
- :mod:`~parslab.testing.network`: a whole run in virtual time, with seeded faults.
- :mod:`~parslab.testing.simulated_cluster`: an executor and its scheduler in virtual time.
"""
