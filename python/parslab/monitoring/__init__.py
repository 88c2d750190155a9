"""Watching a run: the view (what it looks like now), the feed (what panels are told) and the store (what remains).

Everything here lives in the DataFlowKernel process.  The loop owns one :class:`~parslab.monitoring.monitor.Monitor`,
records events with it and never waits for a disk: view and feed are pure cores on the loop's thread, the store
has a thread of its own.
"""
