"""The worker process: its main thread runs one task at a time, a second thread answers control messages."""
